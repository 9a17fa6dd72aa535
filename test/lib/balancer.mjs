// A TCP balancer before several servers, as a cluster has one: round robin by connection, past those that refuse.
import { connect, createServer } from 'node:net';

export class Balancer {
  #backends = []; // { name, port }
  #turn = 0;
  #sockets = new Set();
  #names = new Map(); // the client's port -> the name of the backend that it got

  static async start(backends = []) {
    const balancer = new Balancer();
    balancer.use(backends);
    // Nothing of the client is read before there is somebody to pass it to.
    balancer.listener = createServer({ pauseOnConnect: true, noDelay: true }, (near) => balancer.#accept(near));
    await new Promise((resolve) => balancer.listener.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, resolve));
    balancer.url = `http://127.0.0.1:${balancer.listener.address().port}`;
    return balancer;
  }

  /** New connections go to these from now on; those that are there stay. */
  use(backends) {
    this.#backends = [...backends];
  }

  /** The name of the backend to which the client with that local port was connected last. */
  backendOf(port) {
    return this.#names.get(port);
  }

  close() {
    this.listener.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #accept(near) {
    this.#keep(near);
    this.#turn += 1;
    this.#try(near, this.#turn, this.#backends);
  }

  #try(near, first, backends, tried = 0) {
    if (near.destroyed || tried === backends.length) return near.destroy();
    const backend = backends[(first + tried) % backends.length];
    const far = this.#keep(connect({ port: Number(backend.port), host: '127.0.0.1', noDelay: true }));
    const next = () => this.#try(near, first, backends, tried + 1);
    far.once('error', next);
    far.once('connect', () => {
      far.off('error', next);
      this.#names.set(near.remotePort, backend.name);
      near.once('close', () => far.destroy());
      far.once('close', () => near.destroy());
      near.pipe(far).pipe(near);
    });
    return undefined;
  }

  #keep(socket) {
    this.#sockets.add(socket);
    socket.on('error', () => {}); // the close that follows tells
    socket.once('close', () => this.#sockets.delete(socket));
    return socket;
  }
}
