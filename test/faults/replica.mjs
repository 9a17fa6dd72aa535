// One replica of the bus that can be killed, frozen, cut off and started again on the same ports.
import { within } from '../lib/await.mjs';
import { startReplica } from '../lib/server.mjs';

export class Replica {
  state = 'stopped';
  log = ''; // of its former lives

  /** env names the Redis and the settings; link, if there is one, is what it reaches Redis through. */
  constructor(name, env, link) {
    this.name = name;
    this.env = env;
    this.link = link;
  }

  async start() {
    if (this.state === 'closed') throw new Error(`replica ${this.name} is wanted when the run is over`);
    const ports = this.port ? { WEBSOCKET_PORT: this.port, HEALTH_PORT: this.healthPort } : {};
    this.server = await startReplica({ ...this.env, ...ports });
    this.port = this.server.port;
    this.healthPort = this.server.addresses.health.split(':').at(-1);
    if (this.state === 'closed') await this.server.stop('SIGKILL'); // while it started
    else this.state = 'running';
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  get running() {
    return this.state === 'running';
  }

  kill() {
    return this.#end('SIGKILL');
  }

  /** Ends it as a deployment does; resolves once it has drained. */
  stop() {
    return this.#end('SIGTERM');
  }

  freeze() {
    this.state = 'frozen';
    this.server.signal('SIGSTOP');
  }

  thaw() {
    this.server.signal('SIGCONT');
    this.state = 'running';
  }

  /** The channels it leads, as its metrics say; none if it cannot be asked. */
  async leads() {
    if (!this.running) return [];
    try {
      const { samples } = await within(this.server.metrics(), `metrics of ${this.name}`, 2000);
      return samples.filter(({ name, value }) => name === 'eventbus_leases_held' && value === 1).map(({ labels }) => labels.channel);
    } catch {
      return [];
    }
  }

  /** Ends it for good. */
  async close() {
    if (this.server) await this.kill();
    this.state = 'closed';
    this.link?.close();
  }

  async #end(signal) {
    this.state = 'stopped';
    const { server } = this;
    this.server = undefined;
    try {
      return await server.stop(signal);
    } finally {
      this.log += server.program.stderr;
    }
  }
}
