// A publisher numbers the events of its photos and sends the next one of a photo once the last one is confirmed. What
// is not confirmed is sent again, under the same event id.
import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { within } from '../lib/await.mjs';
import { numbered } from '../lib/events.mjs';

const CHANNEL = 'photo:processing';
const INPUT = `eventbus:in:${CHANNEL}`;
const REPLY = 2000; // ms until a write counts as not confirmed
const AGAIN = 40; // ms until it is sent again

const XADD = (json) => [INPUT, 'MAXLEN', '~', 100_000, '*', 'event', json];

/** How an event gets to Redis; each throws unless Redis confirms it. */
const WRITES = {
  /** Durable. */
  async durable(redis, json) {
    await redis.xadd(...XADD(json));
  },
  /** Durable, and on a replica of Redis: a failover does not forget it. */
  async wait(redis, json) {
    const results = await redis.pipeline().xadd(...XADD(json)).wait(1, REPLY / 2).exec();
    for (const [error] of results) if (error) throw error;
    if (results[1][1] < 1) throw new Error('no replica of Redis has it');
  },
  /** Plain: confirmed if somebody hears it. */
  async plain(redis, json) {
    if ((await redis.publish(CHANNEL, json)) === 0) throw new Error('nobody is subscribed');
  },
};

export const MODES = Object.keys(WRITES);

export class Publisher {
  ledgers = new Map(); // photo -> { sent, unsure }, see checker.mjs
  retried = 0;
  published = 0;
  slowest = 0; // ms from the first attempt to the confirmation
  #running = true;
  #gone = new AbortController();

  /** rate is events a second of all its photos; without retry what is not confirmed stays unsure. */
  constructor(redis, photos, { mode, rate, random, retry = true }) {
    setMaxListeners(0, this.#gone.signal); // one for each photo
    this.redis = redis;
    this.mode = mode;
    this.pace = (1000 * photos.length) / rate; // ms between two events of a photo
    this.random = random;
    this.retry = retry;
    for (const photo of photos) this.ledgers.set(photo, { sent: [], unsure: new Set() });
  }

  start() {
    this.work = Promise.all([...this.ledgers.keys()].map((photo) => this.#run(photo)));
    this.work.catch(() => {}); // stop tells
  }

  /** Resolves once everything that was begun is confirmed. */
  async stop() {
    this.#running = false;
    await this.work;
  }

  /** Publishes one more event of each photo, which must succeed: who has it has all that will come. */
  async mark() {
    await Promise.all([...this.ledgers.keys()].map((photo) => this.#publish(photo, true)));
  }

  /**
   * Compares the durable input with what was confirmed: a Map of photo to a Set of the numbers that Redis no longer has.
   * Throws if the publisher itself put them there in another order.
   */
  async forgotten() {
    const highs = new Map([...this.ledgers.keys()].map((photo) => [photo, -1]));
    const kept = new Set();
    for (const [, [, json]] of await this.redis.xrange(INPUT, '-', '+')) {
      const { photoId, progress } = JSON.parse(json).data;
      if (!highs.has(photoId) || kept.has(`${photoId} ${progress}`)) continue; // another's, or sent again
      kept.add(`${photoId} ${progress}`);
      if (progress < highs.get(photoId)) throw new Error(`${photoId} number ${progress} was published after ${highs.get(photoId)}`);
      highs.set(photoId, progress);
    }
    return new Map([...this.ledgers].map(([photo, { sent, unsure }]) => [
      photo, new Set([...sent.keys()].filter((n) => !unsure.has(n) && !kept.has(`${photo} ${n}`))),
    ]));
  }

  /** The last number of a photo. */
  last(photo) {
    return this.ledgers.get(photo).sent.length - 1;
  }

  close() {
    this.#running = false;
    this.#gone.abort();
    this.redis.disconnect();
  }

  /** Keeps its pace on average: after a pause it makes up for it, as publishers with a queue do. */
  async #run(photo) {
    let due = performance.now() + this.random.between(0, this.pace);
    while (this.#running) {
      await sleep(Math.max(0, due - performance.now()), undefined, { signal: this.#gone.signal });
      if (!this.#running) break;
      await this.#publish(photo, this.retry);
      due += this.random.between(0.5, 1.5) * this.pace;
    }
  }

  async #publish(photo, retry) {
    const { sent, unsure } = this.ledgers.get(photo);
    const number = sent.length;
    const [event] = numbered(photo, number, number + 1);
    const json = JSON.stringify(event);
    const start = performance.now();
    sent.push(start);
    for (;;) {
      try {
        await within(WRITES[this.mode](this.redis, json), 'a confirmation', REPLY);
        break;
      } catch (error) {
        this.lastError = error;
        if (!retry) {
          unsure.add(number);
          await sleep(AGAIN, undefined, { signal: this.#gone.signal });
          return;
        }
        this.retried += 1;
        await sleep(AGAIN, undefined, { signal: this.#gone.signal });
      }
    }
    this.published += 1;
    this.slowest = Math.max(this.slowest, performance.now() - start);
  }
}
