// A replica on Node's own socket.io and @socket.io/redis-streams-adapter, as short as it goes. It proves that the
// scenarios run, end and find what is lost; it is no product, and nobody expects it to pass them.
//
// The adapter is no dependency of the tests: STREAMS_ADAPTER is the path of an installed one.
import { randomUUID } from 'node:crypto';
import http from 'node:http';
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import Redis from 'ioredis';
import jwt from 'jsonwebtoken';
import { Server } from 'socket.io';

const { env } = process;
if (!env.STREAMS_ADAPTER) throw new Error('STREAMS_ADAPTER: want the path of @socket.io/redis-streams-adapter');
const { createAdapter } = createRequire(import.meta.url)(env.STREAMS_ADAPTER);

const CHANNEL = 'photo:processing';
const INPUT = `eventbus:in:${CHANNEL}`;
const LEASE = 2000; // ms
const me = randomUUID();

function connect() {
  const nodes = env.REDIS_ADDRESSES?.split(',').map((address) => ({ host: address.split(':')[0], port: Number(address.split(':')[1]) }));
  let client;
  if (env.REDIS_CLUSTER) client = new Redis.Cluster(nodes, { clusterRetryStrategy: () => 100 });
  else if (nodes) client = new Redis({ sentinels: nodes, name: env.REDIS_SENTINEL_MASTER, maxRetriesPerRequest: null });
  else client = new Redis({ host: env.REDIS_HOST, port: Number(env.REDIS_PORT), maxRetriesPerRequest: null });
  return client.on('error', () => {}); // it reconnects by itself
}

const redis = connect();
const input = connect();
const plain = connect();
const front = http.createServer((_, res) => res.writeHead(404).end());
let ready = true;
const io = new Server(front, {
  serveClient: false,
  adapter: createAdapter(connect(), { maxLen: 100_000, blockTimeInMs: 1000 }),
  allowRequest: (_, decide) => decide(null, ready),
  connectionStateRecovery: { maxDisconnectionDuration: 120_000 },
});

io.use((socket, next) => {
  try {
    socket.data.userId = jwt.verify(socket.handshake.auth.token, env.JWT_SECRET, { algorithms: ['HS256'] }).userId;
    next();
  } catch {
    next(new Error('Invalid token'));
  }
});

io.on('connection', (socket) => {
  socket.on('identify', ({ clientId }, ack) => {
    socket.join(`client:${clientId}`);
    ack({ ok: true });
  });
  socket.on('subscribe:photo', ({ photoId }, ack) => {
    socket.join(`photo:${photoId}`);
    ack({ ok: true });
  });
});

// --- Redis in: the holder of a lease takes events to the log, each id once

let leads = false;

async function hold() {
  for (;;) {
    try {
      if (leads) leads = (await redis.get(`lease:${CHANNEL}`)) === me;
      if (leads) await redis.pexpire(`lease:${CHANNEL}`, LEASE);
      else leads = (await redis.set(`lease:${CHANNEL}`, me, 'PX', LEASE, 'NX')) === 'OK';
    } catch {
      leads = false;
    }
    await sleep(LEASE / 4);
  }
}

async function ingest(text) {
  const event = JSON.parse(text);
  if ((await redis.set(`dedupe:${event.id}`, 1, 'EX', 86_400, 'NX')) !== 'OK') return;
  io.to(`photo:${event.data.photoId}`).emit('processing.event', event);
}

async function read() {
  for (;;) {
    try {
      if (!leads) {
        await sleep(100);
        continue;
      }
      const cursor = (await redis.get(`cursor:${CHANNEL}`)) ?? '0';
      const streams = await input.xread('COUNT', 100, 'BLOCK', 500, 'STREAMS', INPUT, cursor);
      for (const [id, [, text]] of streams?.[0][1] ?? []) {
        if (!leads) break;
        await ingest(text);
        await redis.set(`cursor:${CHANNEL}`, id);
      }
    } catch {
      await sleep(100);
    }
  }
}

hold();
read();
let turn = Promise.resolve();
plain.on('message', (_, text) => {
  turn = turn.then(() => (leads ? ingest(text) : undefined)).catch(() => {});
});
await plain.subscribe(CHANNEL);

// --- Health, start and stop

const health = http.createServer((req, res) => {
  if (req.url === '/metrics') return res.end(`# TYPE eventbus_leases_held gauge\neventbus_leases_held{channel="${CHANNEL}"} ${Number(leads)}\n`);
  return res.writeHead(ready ? 200 : 503).end();
});

async function listen(server, port, host) {
  await new Promise((resolve) => server.listen(Number(port), host, resolve));
  return `${host}:${server.address().port}`;
}

const websocket = await listen(front, env.WEBSOCKET_PORT, env.WEBSOCKET_HOST);
const probes = await listen(health, env.HEALTH_PORT, env.HEALTH_HOST);
console.error(JSON.stringify({ level: 'info', msg: 'listening', websocket, health: probes }));

process.once('SIGTERM', () => {
  ready = false;
  for (const connection of Object.values(io.engine.clients)) connection.close();
  setTimeout(() => process.exit(0), 500); // sessions are written when their clients have left
});
