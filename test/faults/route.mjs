// Where clients connect to: through the balancer, or to the replicas themselves.
import { Balancer } from '../lib/balancer.mjs';

/** Through a balancer, which knows who went where. */
export class Balanced {
  static async start(replicas) {
    const route = new Balanced();
    route.balancer = await Balancer.start(replicas);
    return route;
  }

  use(replicas) {
    this.balancer.use(replicas);
  }

  url() {
    return this.balancer.url;
  }

  replicaOf(socket) {
    return this.balancer.backendOf(socket.io.engine?.transport?.ws?._socket?.localPort);
  }

  close() {
    this.balancer.close();
  }
}

/** To one of the replicas at random, by its own address. */
export class Direct {
  constructor(replicas, random) {
    this.random = random;
    this.all = new Map();
    this.use(replicas);
  }

  use(replicas) {
    this.replicas = [...replicas];
    for (const { url, name } of replicas) this.all.set(url, name);
  }

  url() {
    return this.random.pick(this.replicas).url;
  }

  replicaOf(socket) {
    return this.all.get(socket.io.uri);
  }

  close() {}
}
