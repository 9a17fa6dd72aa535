// A Node Socket.IO server in the same cluster, as a team has one while it migrates: for the same clients, which it lets
// subscribe to what they like.
import { createServer } from 'node:http';
import { createAdapter, createShardedAdapter } from '@socket.io/redis-adapter';
import { createAdapter as createStreamsAdapter } from '@socket.io/redis-streams-adapter';
import Redis from 'ioredis';
import { Server } from 'socket.io';
import { cleanup } from './cleanup.mjs';

const ADAPTERS = {
  streams: (connect, options) => createStreamsAdapter(connect(), options),
  classic: (connect, options) => createAdapter(connect(), connect(), options),
  sharded: (connect, options) => createShardedAdapter(connect(), connect(), options),
};

/** Starts one on the Redis of a RedisServer; it ends with the test. */
export async function startNode(t, redis, kind = 'streams', options = {}) {
  const clients = [];
  const connect = () => {
    const client = new Redis({ host: '127.0.0.1', port: redis.port });
    client.on('error', () => {});
    clients.push(client);
    return client;
  };
  const http = createServer();
  const io = new Server(http, {
    adapter: ADAPTERS[kind](connect, options),
    ...(kind === 'streams' && { connectionStateRecovery: { maxDisconnectionDuration: 60_000, skipMiddlewares: false } }),
  });
  io.use((socket, next) => {
    const [, claims] = socket.handshake.auth.token.split('.');
    socket.data.user = { id: JSON.parse(Buffer.from(claims, 'base64url')).userId };
    next();
  });
  io.on('connection', (socket) => {
    socket.on('identify', ({ clientId, sessionId }, ack) => {
      Object.assign(socket.data, { clientId, sessionId });
      socket.join([`client:${clientId}`, `session:${sessionId}`, `user:${socket.data.user.id}`]);
      socket.emit('identified', { socketId: socket.id });
      ack?.({ ok: true });
    });
    socket.on('subscribe:photo', ({ photoId }, ack) => {
      socket.join(`photo:${photoId}`);
      ack?.({ ok: true });
    });
    socket.on('heartbeat', (ack) => ack?.({ ok: true }));
  });
  await new Promise((resolve) => http.listen(0, '127.0.0.1', resolve));
  cleanup(t, async () => {
    await io.close();
    clients.forEach((client) => client.disconnect());
  });
  return { io, url: `http://127.0.0.1:${http.address().port}` };
}
