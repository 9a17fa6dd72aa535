// The event bus on Node's own socket.io, as short as it goes. It proves that the suite asks for what Socket.IO really
// does; it is no product: one replica, rooms and recovery in memory, owners in Redis, counters by hand.
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import Redis from 'ioredis';
import jwt from 'jsonwebtoken';
import { Server } from 'socket.io';
import { Metrics } from './metrics.mjs';

const { env } = process;
const UNITS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

function duration(text) {
  const [, number, unit] = text.match(/^([\d.]+)(ms|s|m|h)$/);
  return number * UNITS[unit];
}

const photoAccess = env.PHOTO_ACCESS ?? 'owner';
const limit = { max: Number(env.RATE_LIMIT_MAX ?? 1000), window: duration(env.RATE_LIMIT_WINDOW ?? '1m') };
const maxEvent = 1_000_000; // bytes
const metrics = new Metrics();
let ready = true;
const redis = new Redis(env.REDIS_URL ?? { host: env.REDIS_HOST, port: Number(env.REDIS_PORT) });
const inbound = redis.duplicate();
for (const client of [redis, inbound]) client.on('error', () => {}); // it reconnects by itself; /health tells

const front = http.createServer((_, res) => res.writeHead(404).end());
const io = new Server(front, {
  serveClient: false,
  cors: { origin: env.CORS_ORIGINS?.split(',') ?? false },
  pingInterval: duration(env.PING_INTERVAL ?? '25s'),
  pingTimeout: duration(env.PING_TIMEOUT ?? '20s'),
  connectTimeout: duration(env.CONNECT_TIMEOUT ?? '45s'),
  maxHttpBufferSize: Number(env.MAX_PAYLOAD ?? 1_000_000),
  allowRequest: (_, decide) => decide(null, ready), // asked for new sessions only
  connectionStateRecovery: {
    maxDisconnectionDuration: duration(env.RECOVERY_WINDOW ?? '2m'),
    skipMiddlewares: false, // a recovered client's token is checked again
  },
});

// --- Handshake

const attempts = new Map(); // user -> times of the connections within the window

function retryAfter(userId) {
  const now = Date.now();
  const recent = (attempts.get(userId) ?? []).filter((t) => t > now - limit.window);
  attempts.set(userId, recent);
  if (recent.length >= limit.max) return Math.ceil((recent[0] + limit.window - now) / 1000);
  recent.push(now);
  return 0;
}

io.use((socket, next) => {
  const token = socket.handshake.auth.token || socket.handshake.headers.authorization;
  if (!token) return next(new Error('Authentication required'));
  let claims;
  try {
    claims = jwt.verify(String(token).replace(/^Bearer /i, ''), env.JWT_SECRET, { algorithms: ['HS256'] });
  } catch {
    return next(new Error('Invalid token'));
  }
  const userId = claims.userId ?? claims.sub;
  if (!userId) return next(new Error('Invalid token'));
  const seconds = retryAfter(userId);
  if (seconds) return next(Object.assign(new Error('Rate limit exceeded'), { data: { retryAfter: seconds } }));
  socket.data = { userId, permissions: claims.permissions ?? [], exp: claims.exp };
  next();
});

// --- Client events

const isId = (value) => typeof value === 'string' && value.length > 0 && value.length <= 256;

async function photoAllowed({ userId, permissions }, id) {
  if (photoAccess === 'any') return true;
  if (permissions.includes(`photo:read:${id}`) || permissions.includes('photo:read:*')) return true;
  return photoAccess === 'owner' && (await redis.hget('owners', id)) === userId;
}

async function userAllowed({ userId, permissions }, id) {
  return id === userId || permissions.includes(`user:read:${id}`) || permissions.includes('user:read:*');
}

async function subscribe(socket, kind, id, allowed) {
  if (!(await allowed(socket.data, id))) throw new Error('Access denied');
  socket.join(`${kind}:${id}`);
  socket.emit('subscribed', { room: `${kind}:${id}` });
}

function unsubscribe(socket, kind, id) {
  socket.leave(`${kind}:${id}`);
  socket.emit('unsubscribed', { room: `${kind}:${id}` });
}

function identify(socket, { clientId, sessionId }) {
  socket.join([`client:${clientId}`, `user:${socket.data.userId}`]);
  if (sessionId !== undefined) socket.join(`session:${sessionId}`);
  socket.emit('identified', { socketId: socket.id, timestamp: new Date().toISOString() });
}

const commands = new Map([
  ['identify', { required: 'clientId', optional: 'sessionId', run: identify }],
  ['subscribe:photo', { required: 'photoId', run: (s, { photoId }) => subscribe(s, 'photo', photoId, photoAllowed) }],
  ['subscribe:user', { required: 'userId', run: (s, { userId }) => subscribe(s, 'user', userId, userAllowed) }],
  ['unsubscribe:photo', { required: 'photoId', run: (s, { photoId }) => unsubscribe(s, 'photo', photoId) }],
  ['unsubscribe:user', { required: 'userId', run: (s, { userId }) => unsubscribe(s, 'user', userId) }],
  ['heartbeat', { run: (s) => s.emit('heartbeat', { timestamp: Date.now() }) }],
]);

async function handle(socket, name, args) {
  const command = commands.get(name);
  if (!command) throw new Error('Unknown event');
  const { required, optional, run } = command;
  if (required) {
    const [payload] = args;
    const valid = isId(payload?.[required])
      && (payload[optional] === undefined || isId(payload[optional]));
    if (!valid) throw new Error('Invalid payload');
  }
  await run(socket, args[0]);
}

io.on('connection', (socket) => {
  metrics.connected();
  const expiry = socket.data.exp && setTimeout(() => socket.conn.close(), socket.data.exp * 1000 - Date.now());
  socket.on('disconnect', (reason) => {
    clearTimeout(expiry);
    metrics.disconnected(reason);
  });
  let turn = Promise.resolve(); // one at a time, in the order they were sent
  socket.use(([name, ...args]) => {
    const ack = typeof args.at(-1) === 'function' ? args.pop() : () => {};
    turn = turn.then(() => handle(socket, name, args)).then(
      () => ack({ ok: true }),
      ({ message }) => {
        socket.emit('error', { message, event: name });
        ack({ ok: false, error: message });
      },
    );
  });
});

// --- Redis in: the seed's default routing rules

const routes = {
  'photo:upload': ['upload.event', [['client', 'metadata', 'clientId'], ['session', 'metadata', 'sessionId']]],
  'photo:processing': ['processing.event', [['photo', 'data', 'photoId'], ['user', 'data', 'userId']]],
  'photo:completion': ['completion.event', [['photo', 'data', 'photoId'], ['client', 'metadata', 'clientId']]],
};

async function receive(channel, text) {
  if (text.length > maxEvent) throw new Error('too large');
  const event = JSON.parse(text);
  const valid = isId(event?.id) && isId(event.type) && typeof event.data === 'object' && event.data !== null;
  if (!valid) throw new Error('malformed');
  metrics.received(channel, event.type);
  if (event.type === 'photo.uploaded') await redis.hset('owners', event.data.photoId, event.data.userId);
  const [name, selectors] = routes[channel];
  const rooms = selectors.filter(([, part, key]) => event[part]?.[key]).map(([kind, part, key]) => `${kind}:${event[part][key]}`);
  if (rooms.length === 0) return;
  const start = performance.now();
  io.to(rooms).emit(name, event);
  metrics.broadcast(name, performance.now() - start);
}

let turn = Promise.resolve();
inbound.on('message', (channel, text) => {
  turn = turn.then(() => receive(channel, text)).catch(({ name }) => metrics.failed(channel, name));
});
await inbound.subscribe(...Object.keys(routes));

// --- Health

const pages = {
  '/health/live': () => ({ status: 200, body: 'ok' }),
  '/health/ready': () => ({ status: ready ? 200 : 503, body: String(ready) }),
  '/health': () => {
    const up = redis.status === 'ready' && inbound.status === 'ready';
    const checks = [{ name: 'Redis Connection', status: up ? 'healthy' : 'unhealthy', duration: 0, timestamp: new Date() }];
    const body = { status: up ? 'healthy' : 'degraded', message: `${Number(up)}/1 checks passing`, checks, timestamp: new Date() };
    return { status: 200, type: 'application/json', body: JSON.stringify(body) };
  },
  '/metrics': () => {
    const rooms = [...io.of('/').adapter.rooms.keys()].filter((room) => room.includes(':'));
    return { status: 200, type: 'text/plain; version=0.0.4; charset=utf-8', body: metrics.text(rooms.length) };
  },
};

const health = http.createServer((req, res) => {
  const { status, type = 'text/plain', body } = pages[req.url]?.() ?? { status: 404, body: 'not found' };
  res.writeHead(status, { 'content-type': type }).end(body);
});

// --- Start and stop

async function listen(server, port, host) {
  await new Promise((resolve) => server.listen(Number(port), host, resolve));
  return `${host}:${server.address().port}`;
}

const websocket = await listen(front, env.WEBSOCKET_PORT, env.WEBSOCKET_HOST);
const probes = await listen(health, env.HEALTH_PORT, env.HEALTH_HOST);
console.error(JSON.stringify({ level: 'info', msg: 'listening', websocket, health: probes }));

async function drain() {
  ready = false;
  const leaving = Object.values(io.engine.clients);
  for (const connection of leaving) {
    connection.close();
    await sleep(duration(env.DRAIN_TIMEOUT ?? '20s') / leaving.length);
  }
  const last = Date.now() + 1000; // one that polls hears of it with its next request, if there is one
  while (io.engine.clientsCount > 0 && Date.now() < last) await sleep(5);
  process.exit(0);
}

for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, drain);
