// Official clients, of three versions, with a memory.
import { io as io48 } from 'socket.io-client';
import { io as io31 } from 'socket.io-client-3.1';
import { io as io40 } from 'socket.io-client-4.0';
import { until, within } from '../../lib/await.mjs';
import { cleanup } from '../../lib/cleanup.mjs';

export const VERSIONS = { 4.8: io48, '4.0': io40, 3.1: io31 };

export class Client {
  inbox = []; // [name, first argument] of every event, in order
  states = []; // 'connect', 'disconnect <reason>', 'refused <message>', in order

  constructor(socket, t) {
    this.socket = socket;
    socket.onAny((name, ...args) => this.inbox.push([name, args[0]]));
    socket.on('connect', () => this.states.push('connect'));
    socket.on('disconnect', (reason) => this.states.push(`disconnect ${reason}`));
    socket.on('connect_error', (error) => {
      this.error = error;
      this.states.push(`refused ${error.message}`);
    });
    cleanup(t, () => { socket.off().disconnect(); socket.io.engine?.close(); });
  }

  /** Connects to a namespace with a connection of its own. */
  static async connect(io, twin, t, { nsp = '/', ...options } = {}) {
    const socket = io(twin.url + nsp, { forceNew: true, reconnectionDelay: 10, reconnectionDelayMax: 50, ...options });
    const client = new Client(socket, t);
    await until(() => client.states.length > 0, 'a connection');
    return client;
  }

  /** Resolves with the acknowledgement's arguments. */
  ask(...args) {
    return within(new Promise((resolve) => this.socket.emit(...args, (...answer) => resolve(answer))), `the ack of ${args[0]}`);
  }

  /** The first arguments of all events of that name so far. */
  got(name) {
    return this.inbox.filter((event) => event[0] === name).map((event) => event[1]);
  }

  async received(name, count) {
    await until(() => this.got(name).length >= count, () => `${count} × ${name}, got ${this.got(name).length}; ${this.states}`);
    return this.got(name);
  }

  state(wanted, count = 1) {
    return until(() => this.states.filter((s) => s === wanted).length >= count, () => `${count} × ${wanted}, got ${this.states}`);
  }

  get transport() {
    return this.socket.io.engine.transport.name;
  }

  /** Drops the connection as a failing network does: the server may not know, and the client wants to come back. */
  drop() {
    this.socket.io.engine.close();
  }
}
