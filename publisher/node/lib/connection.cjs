// What the Redis client is, and when it has connected anew.
'use strict';

const REFUSED = 'the client of a Publisher: want a Redis or Cluster of ioredis, or a client of redis (createClient)';

/** 'ioredis', 'cluster' (of ioredis) or 'node-redis'. Throws a TypeError for what cannot be published through. */
function kindOf(client, { durable, replicas }) {
  if (client === null || typeof client !== 'object' || typeof client.on !== 'function') throw new TypeError(REFUSED);
  if (typeof client.pipeline === 'function' && typeof client.call === 'function' && typeof client.status === 'string') {
    if (durable && client.options?.keyPrefix) {
      throw new TypeError(`the client of a Publisher has the keyPrefix ${JSON.stringify(client.options.keyPrefix)}, so the bus would not find the streams: want one without, and the option prefix if the bus is set to another`);
    }
    const isCluster = typeof client.nodes === 'function';
    if (isCluster && replicas > 0) throw new TypeError('replicas with a Cluster: want a client of one master, as only that knows its replicas');
    return isCluster ? 'cluster' : 'ioredis';
  }
  if (typeof client.multi !== 'function' || typeof client.sendCommand !== 'function' || typeof client.isOpen !== 'boolean') {
    throw new TypeError(REFUSED);
  }
  // Of the others that redis makes, each command may take another connection, or has other arguments.
  if ('masters' in client || 'getMasterNode' in client || 'totalClients' in client || typeof client.isReady !== 'boolean') {
    throw new TypeError(`${REFUSED}, not a pool, cluster or sentinel of redis`);
  }
  if (client.options?.legacyMode) throw new TypeError(`${REFUSED} without legacyMode`);
  return 'node-redis';
}

/** How long after a new connection what was asked before may take, ms. */
const GRACE = 1000;

const known = new WeakMap(); // clients

/** One for each client: it hears when the client has connected anew. */
class Connection {
  static of(client) {
    if (!known.has(client)) known.set(client, new Connection(client));
    return known.get(client);
  }

  #client;
  #users = 0;
  #asked = new Set();
  #connected = () => { this.epoch += 1; };
  #ready = () => { for (const ready of this.#asked) ready(); };

  /** Counts the connections, before anything is sent on them. */
  epoch = 0;

  constructor(client) {
    this.#client = client;
  }

  enter() {
    this.#users += 1;
    if (this.#users === 1) this.#client.on('connect', this.#connected).on('ready', this.#ready);
  }

  leave() {
    this.#users -= 1;
    if (this.#users === 0) this.#client.removeListener('connect', this.#connected).removeListener('ready', this.#ready);
  }

  /**
   * Settles as ask() does. Clients may forget what they were asked when their connection breaks (ioredis without
   * autoResendUnfulfilledCommands; redis what is left of a transaction); what has no answer a moment after the next
   * one is there counts as lost.
   */
  ask(ask) {
    return new Promise((resolve, reject) => {
      let timer;
      const ready = () => {
        clearTimeout(timer);
        timer = setTimeout(() => {
          this.#asked.delete(ready);
          reject(new Error('no answer after the Redis client had connected again'));
        }, GRACE);
        timer.unref(); // there are deadlines for those who wait
      };
      this.#asked.add(ready);
      const done = () => {
        this.#asked.delete(ready);
        clearTimeout(timer);
      };
      (async () => ask())().then((value) => { done(); resolve(value); }, (error) => { done(); reject(error); });
    });
  }
}

module.exports = { Connection, kindOf };
