// Reference: Socket.IO for Node.js (ws engine). run.sh copies it and installs its packages outside of the repository.
"use strict";
const http = require("http");
const { Server } = require("socket.io");
const jwt = require("jsonwebtoken");
const Redis = require("ioredis");
const { createAdapter } = require("@socket.io/redis-streams-adapter");

const SECRET = process.env.JWT_SECRET || "bench-secret";
const redis = () => new Redis({ host: process.env.REDIS_HOST || "127.0.0.1", port: +(process.env.REDIS_PORT || 6390) });
const server = http.createServer((_, res) => { res.statusCode = 404; res.end(); });
const opts = {
  serveClient: false,
  perMessageDeflate: false,
  httpCompression: false,
};
// One of several servers, with the promises of ours: returning clients are recovered.
if (process.env.BENCH_STREAMS) {
  opts.adapter = createAdapter(redis());
  opts.connectionStateRecovery = {};
}
if (process.env.WS_ENGINE) opts.wsEngine = require(process.env.WS_ENGINE).Server;
const io = new Server(server, opts);
// documented way to drop the reference to the first HTTP request
io.engine.on("connection", (raw) => { raw.request = null; });

io.use((socket, next) => {
  try {
    const c = jwt.verify(socket.handshake.auth.token, SECRET, { algorithms: ["HS256"] });
    if (!c.userId) return next(new Error("unauthorized"));
    socket.data.userId = c.userId;
    next();
  } catch (e) {
    next(new Error("unauthorized"));
  }
});

io.on("connection", (socket) => {
  socket.join(`user:${socket.data.userId}`);
  socket.on("identify", (d) => {
    if (!d) return;
    socket.join([`client:${d.clientId}`, `session:${d.sessionId}`]);
    socket.emit("identified", { socketId: socket.id, timestamp: Date.now() });
  });
  socket.on("subscribe:photo", (d) => {
    if (!d || !d.photoId) return;
    const room = `photo:${d.photoId}`;
    socket.join(room);
    socket.emit("subscribed", { room });
  });
  socket.on("heartbeat", () => socket.emit("heartbeat", { timestamp: Date.now() }));
});

const sub = redis();
sub.on("message", (_, payload) => {
  let ev;
  try { ev = JSON.parse(payload); } catch { return; }
  const d = ev.data || {};
  let op = io;
  if (d.photoId) op = op.to(`photo:${d.photoId}`);
  if (d.userId) op = op.to(`user:${d.userId}`);
  if (op !== io) op.emit("processing.event", ev);
});
// Of several servers one takes the input: each of them would send every event to all clients.
const input = process.env.BENCH_NO_INPUT ? sub.ping() : sub.subscribe(process.env.REDIS_CHANNEL || "photo:processing");
input.then(() =>
  server.listen({ port: +(process.env.WEBSOCKET_PORT || 7400), host: "127.0.0.1", backlog: 4096 }));

if (process.env.BENCH_ADMIN_PORT)
  http.createServer((_, res) => {
    if (global.gc) { global.gc(); global.gc(); }
    const m = process.memoryUsage();
    res.end(`heap_used=${(m.heapUsed / 1e6).toFixed(1)}MB heap_total=${(m.heapTotal / 1e6).toFixed(1)}MB external=${(m.external / 1e6).toFixed(1)}MB clients=${io.engine.clientsCount}`);
  }).listen(+process.env.BENCH_ADMIN_PORT, "127.0.0.1");
