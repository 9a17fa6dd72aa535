// An official socket.io-client with a memory: everything it receives, and how its connection came and went.
import assert from 'node:assert/strict';
import { io as io48 } from 'socket.io-client';
import { io as io31 } from 'socket.io-client-3.1';
import { io as io40 } from 'socket.io-client-4.0';
import { until, within } from './await.mjs';
import { cleanup } from './cleanup.mjs';
import { token, unique } from './tokens.mjs';

export const CLIENTS = { 4.8: io48, '4.0': io40, 3.1: io31 };
export const TRANSPORTS = {
  websocket: { transports: ['websocket'] },
  polling: { transports: ['polling'] },
  upgrade: {}, // the client's default: polling first, then websocket
};

export class Client {
  inbox = []; // { name, body, args } of every event, in order
  states = []; // { state: 'connect' | 'disconnect' | 'refused', detail }, in order

  /**
   * Starts to connect; it is closed when the test ends. Options are socket.io-client's, and io for another version of it,
   * user and permissions for a token of its own unless auth is given.
   */
  constructor(t, server, { io = io48, user = unique('user'), permissions = ['photo:read:*'], ...options } = {}) {
    this.user = user;
    const auth = { token: token({ userId: user, permissions }) };
    this.socket = io(server.url, { forceNew: true, reconnectionDelay: 20, reconnectionDelayMax: 100, auth, ...options });
    this.socket.onAny((name, ...args) => this.inbox.push({ name, body: args[0], args }));
    this.socket.on('connect', () => this.states.push({ state: 'connect', detail: this.socket.recovered ?? false }));
    this.socket.on('disconnect', (reason) => this.states.push({ state: 'disconnect', detail: reason }));
    this.socket.on('connect_error', (error) => this.states.push({ state: 'refused', detail: error }));
    cleanup(t, () => this.close());
  }

  /** Connects, or throws what the server refused it with. */
  static async connect(t, server, options) {
    const client = new Client(t, server, options);
    const { state, detail } = await client.state((s) => s.state !== 'disconnect', 'a connection');
    if (state === 'refused') throw detail;
    return client;
  }

  /** Connects and is identified, in rooms nobody else is in: client:<clientId>, session:<sessionId>, user:<user>. */
  static async identified(t, server, options) {
    const client = await Client.connect(t, server, options);
    client.clientId = unique('client');
    client.sessionId = unique('session');
    await client.identify();
    return client;
  }

  async identify() {
    const before = this.bodies('identified').length;
    await this.asks('identify', { clientId: this.clientId, sessionId: this.sessionId });
    return this.received('identified', before + 1).then((bodies) => bodies.at(-1));
  }

  /** Emits an event and resolves with the server's acknowledgement. */
  ask(name, ...args) {
    return within(new Promise((resolve) => this.socket.emit(name, ...args, resolve)), `the ack of ${name}`);
  }

  /** Emits an event which the server must accept. */
  async asks(name, ...args) {
    const answer = await this.ask(name, ...args);
    assert.equal(answer.ok, true, `${name}: ${JSON.stringify(answer)}`);
    return answer;
  }

  /** The first arguments of all events of that name so far. */
  bodies(name) {
    return this.inbox.filter((event) => event.name === name).map((event) => event.body);
  }

  /** Resolves with the bodies once there are at least count of that name. */
  async received(name, count, ms) {
    await until(() => this.bodies(name).length >= count, () => `${count} × ${name}, got ${this.bodies(name).length}`, ms);
    return this.bodies(name);
  }

  /** Resolves with the first state from index `from` on that matches. */
  state(matches, what, from = 0) {
    return until(() => this.states.slice(from).find(matches), () => `${what}, got ${JSON.stringify(this.states)}`);
  }

  /** Resolves with the reason of the next disconnect after index `from`. */
  async disconnected(from = 0) {
    return (await this.state((s) => s.state === 'disconnect', 'a disconnect', from)).detail;
  }

  /** Resolves with whether the connection was recovered, on the next connect after index `from`. */
  async connected(from = 0) {
    return (await this.state((s) => s.state === 'connect', 'a connect', from)).detail;
  }

  /** Drops the transport under the socket, as a network change does; the socket will want to come back. */
  drop() {
    this.socket.io.engine.close();
  }

  close() {
    this.socket.disconnect();
    this.socket.io.engine?.close();
  }
}
