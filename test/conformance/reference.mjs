// The official server, doing what server/main.go does: the two must not be told apart, but for differences.mjs.
import http from 'node:http';
import { Server } from 'socket.io';

const web = http.createServer((_, res) => res.writeHead(404).end());
const io = new Server(web, {
  serveClient: false,
  pingInterval: 300,
  pingTimeout: 1000,
  upgradeTimeout: 2000,
  connectTimeout: 2000,
  maxHttpBufferSize: 1e6,
  connectionStateRecovery: { maxDisconnectionDuration: 120_000, skipMiddlewares: false },
});

const reasons = new Map(); // socket id -> why it was disconnected

io.of('/auth').use((socket, next) => {
  const { token } = socket.handshake.auth;
  if (token === 'good') return next();
  const error = new Error(token ? 'wrong token' : 'no token');
  if (token) error.data = { token, tries: [1, null] };
  next(error);
});

for (const name of ['/', '/custom', '/auth', '/a b/ü', '/a?b=c']) {
  io.of(name).on('connection', (socket) => {
    socket.on('disconnect', (reason) => reasons.set(socket.id, reason));
    if (!socket.recovered) socket.emit('auth', socket.handshake.auth);

    socket.on('echo', (...args) => {
      if (typeof args.at(-1) === 'function') args.pop()(...args);
      else socket.emit('echoed', args); // ends with no string: what does is an offset
    });
    socket.on('binary', (data, ack) => ack(data));
    socket.on('binary back', (data) => socket.emit('binary', data, [data], 1));
    socket.on('parcel', ({ file, parts, n }, ack) => ack({ file, parts, n }));
    socket.on('ask', (n) => socket.emit('question', n, (...args) => socket.emit('answered', args)));
    socket.on('join', (room, ack) => { socket.join(room); ack(); });
    socket.on('leave', (room, ack) => { socket.leave(room); ack(); });
    socket.on('say', (room, what) => io.of(name).to(room).emit('said', what));
    socket.on('tell others', (what) => socket.broadcast.emit('said', what));
    socket.on('tell me', (text) => socket.emit('told', text)); // ends with text: see clients.test.mjs
    socket.on('volatile', (what) => io.of(name).volatile.emit('said', what));
    socket.on('burst', (n) => { for (let i = 0; i < n; i++) socket.emit('n', i); });
    socket.on('rooms', (ack) => ack([...socket.rooms].filter((room) => room !== socket.id).sort()));
    socket.on('leave me', () => socket.disconnect());
    socket.on('close me', () => socket.disconnect(true));
    socket.on('reason', (id, ack) => ack(reasons.get(id) ?? null));
  });
}

web.listen(0, '127.0.0.1', () => console.log(`listening ${web.address().port}`));
