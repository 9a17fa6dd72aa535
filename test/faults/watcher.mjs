// A front-end as it should be: it identifies and subscribes whenever it was not recovered, and writes down what happens.
import { setTimeout as sleep } from 'node:timers/promises';
import { io } from 'socket.io-client';
import { token } from '../lib/tokens.mjs';

const ACK = 5000; // ms until a command is sent again
const REFUSED = 300; // ms until a refused client asks again, which socket.io-client leaves to the front-end

export class Watcher {
  record = []; // see checker.mjs
  #missing = new Set(); // photos whose subscription is not confirmed
  #high = new Map(); // photo -> the highest number received
  #turn = 0;
  #closed = false;

  /** It connects where the route says, anew for each attempt. connectTimeout is how long it waits for a frozen server. */
  constructor(name, { photos, route, connectTimeout = 2000 }) {
    this.name = name;
    this.photos = photos;
    this.route = route;
    const auth = { token: token({ userId: `user-of-${name}`, permissions: ['photo:read:*'] }) };
    this.socket = io(route.url(), {
      auth, forceNew: true, transports: ['websocket'], timeout: connectTimeout, reconnectionDelay: 50, reconnectionDelayMax: 500,
    });
    const { socket } = this;
    socket.io.on('reconnect_attempt', () => { socket.io.uri = route.url(); });
    socket.on('processing.event', (event, offset) => this.#received(event, offset));
    socket.on('connect', () => this.#connected());
    socket.on('disconnect', (reason) => this.#note({ kind: 'disconnect', reason }));
    socket.on('connect_error', (error) => this.#refused(error));
  }

  /** The name of the replica it is connected to, if it is. */
  get replica() {
    return this.socket.connected ? this.route.replicaOf(this.socket) : undefined;
  }

  /** Whether all its subscriptions are confirmed. */
  get ready() {
    return this.socket.connected && this.#missing.size === 0;
  }

  /** Whether it has received that number of the photo, or a later one. */
  reached(photo, number) {
    return (this.#high.get(photo) ?? -1) >= number;
  }

  /** Closes an open transport with a word to the server; the client will come back. */
  leave() {
    const { engine } = this.socket.io;
    if (engine?.readyState === 'open') engine.close();
  }

  /** Loses an open transport without a word, as with a lost network; the client will come back. */
  vanish() {
    const { engine } = this.socket.io;
    if (engine?.readyState === 'open') engine.transport.ws.terminate();
  }

  close() {
    this.#closed = true;
    this.socket.disconnect();
    this.socket.io.engine?.transport?.ws?.terminate(); // whatever state it is in
  }

  #note(entry) {
    if (!this.#closed) this.record.push({ at: performance.now(), ...entry });
  }

  #received({ data }, offset) {
    this.#note({ kind: 'event', photo: data.photoId, number: data.progress, offset: typeof offset === 'string' ? offset : undefined });
    if (!this.reached(data.photoId, data.progress)) this.#high.set(data.photoId, data.progress);
  }

  #connected() {
    const recovered = this.socket.recovered === true;
    this.#note({ kind: 'connect', recovered, replica: this.route.replicaOf(this.socket) });
    if (!recovered) this.photos.forEach((photo) => this.#missing.add(photo));
    this.#subscribe();
  }

  /** Confirms what is missing on this connection; the next one begins anew with what is left. */
  async #subscribe() {
    this.#turn += 1;
    const turn = this.#turn;
    const current = () => turn === this.#turn && this.socket.connected;
    const ask = (name, body) => this.socket.timeout(ACK).emitWithAck(name, body).catch((error) => ({ ok: false, error: error.message }));
    while (current() && this.#missing.size > 0) {
      const identified = await ask('identify', { clientId: this.name, sessionId: `session-of-${this.name}` });
      const answers = await Promise.all([...this.#missing].map(async (photo) => {
        const answer = await ask('subscribe:photo', { photoId: photo });
        if (answer.ok && current()) {
          this.#missing.delete(photo);
          this.#note({ kind: 'subscribed', photo });
        }
        return answer;
      }));
      const failed = [identified, ...answers].find(({ ok }) => !ok);
      if (failed && current()) {
        this.#note({ kind: 'refused', reason: failed.error });
        await sleep(REFUSED);
      }
    }
  }

  #refused({ message, description }) {
    if (this.#closed) return;
    if (this.socket.active) return; // the network: socket.io-client goes on by itself
    this.#note({ kind: 'refused', reason: description?.message ?? message });
    setTimeout(() => !this.#closed && this.socket.connect(), REFUSED).unref();
  }
}
