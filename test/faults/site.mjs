// Everything of one run: Redis, replicas, a route to them, clients and publishers; and how it is judged.
import { setTimeout as sleep } from 'node:timers/promises';
import Redis from 'ioredis';
import { until, within } from '../lib/await.mjs';
import { Link } from '../lib/link.mjs';
import { Random } from '../lib/random.mjs';
import { RedisServer } from '../lib/redis.mjs';
import { RedisCluster, SentinelGroup } from '../lib/topology.mjs';
import { check } from './checker.mjs';
import { Publisher } from './publisher.mjs';
import { Replica } from './replica.mjs';
import { Balanced, Direct } from './route.mjs';
import { Watcher } from './watcher.mjs';

const CHANNEL = 'photo:processing';
const SETTINGS = { RATE_LIMIT: 'false', RECOVERY_WINDOW: '2m', DRAIN_TIMEOUT: '2s' };
const LEASE = 20_000; // ms to wait for a leader at most; how long it took is noted
const DRAIN = { short: 20_000, long: 60_000 }; // ms for everything published to arrive

const PUBLISHERS = { // they never wait in a queue: what cannot be sent now has failed
  maxRetriesPerRequest: 0, enableOfflineQueue: false, autoResendUnfulfilledCommands: false, retryStrategy: () => 50,
};

/** The kinds of Redis: how to start it, what the replicas are told of it, how publishers reach it. */
const KINDS = {
  single: {
    start: (options) => RedisServer.start(options),
    env: ({ port }) => ({ REDIS_HOST: '127.0.0.1', REDIS_PORT: String(port) }),
    connect: ({ port }) => new Redis({ host: '127.0.0.1', port, ...PUBLISHERS }),
  },
  sentinel: {
    start: () => SentinelGroup.start(),
    env: ({ addresses, master }) => ({ REDIS_ADDRESSES: addresses.join(','), REDIS_SENTINEL_MASTER: master }),
    connect: ({ addresses, master }) => new Redis({
      sentinels: nodes(addresses), name: master, sentinelRetryStrategy: () => 50, ...PUBLISHERS,
    }),
  },
  cluster: {
    start: () => RedisCluster.start(),
    env: ({ addresses }) => ({ REDIS_ADDRESSES: addresses.join(','), REDIS_CLUSTER: 'true' }),
    connect: ({ addresses }) => new Redis.Cluster(nodes(addresses), {
      clusterRetryStrategy: () => 50, slotsRefreshInterval: 500, redisOptions: { maxRetriesPerRequest: 0 },
    }),
  },
};

function nodes(addresses) {
  return addresses.map((address) => ({ host: '127.0.0.1', port: Number(address.split(':')[1]) }));
}

export class Site {
  notes = []; // what the scenario measured
  watchers = [];
  publishers = [];
  replicas = [];
  #undo = [];

  /**
   * Options: seed, long, mode, clients, rate, photos (how many there are), watched (how many of them a client watches),
   * publishers, replicas, links, direct, target (the one replica clients begin at), retry, redis (a kind), redisOptions,
   * settings for the replicas, connectTimeout.
   */
  constructor(options) {
    this.options = options;
    this.random = new Random(options.seed);
    this.start = performance.now();
  }

  /** Starts all of it; nothing is published yet, and every client is subscribed. */
  async open() {
    const { redis = 'single', redisOptions, replicas = 3 } = this.options;
    this.kind = KINDS[redis];
    this.redis = await this.kind.start(redisOptions);
    this.#undo.push(() => this.redis.remove());
    await Promise.all('ABCDEFGH'.slice(0, replicas).split('').map((name) => this.add(name)));
    this.replicas.sort((a, b) => a.name.localeCompare(b.name));
    this.route = this.options.direct ? new Direct(this.replicas, this.random.fork()) : await Balanced.start(this.replicas);
    this.#undo.push(() => this.route.close());
    if (this.options.target) this.route.use(this.replicas.filter(({ name }) => name === this.options.target));
    await this.#admit();
    await this.#employ();
  }

  /** Starts one more replica; the route does not know it. */
  async add(name) {
    const link = this.options.links ? await Link.start(this.redis.port) : undefined;
    const env = { ...SETTINGS, ...this.kind.env(link ?? this.redis), ...this.options.settings };
    const replica = new Replica(name, env, link);
    this.replicas.push(replica);
    this.#undo.push(() => replica.close());
    await replica.start();
    return replica;
  }

  /** Publishes until everybody has heard something: what is broken without any fault is not the fault's. */
  async warmUp() {
    this.publishers.forEach((publisher) => publisher.start());
    await until(() => this.watchers.every((watcher) => watcher.photos.every((photo) => watcher.reached(photo, 0))), () => {
      const deaf = this.watchers.filter((watcher) => !watcher.photos.every((photo) => watcher.reached(photo, 0)));
      const errors = this.publishers.map(({ lastError }) => lastError?.message).filter(Boolean);
      return `events before any fault: ${deaf.length} of ${this.watchers.length} clients miss some, `
        + `${this.published} were published${errors.length > 0 ? `, publishers say ${errors[0]}` : ''}`;
    }, 15_000);
    await this.wait(this.random.between(500, 1500)); // the fault comes at another moment with every seed
  }

  get published() {
    return this.publishers.reduce((sum, { published }) => sum + published, 0);
  }

  /** Lets the publishers finish, and waits until every client has all there is, as markers tell. */
  async drain() {
    const limit = DRAIN[this.options.long ? 'long' : 'short'];
    await within(Promise.all(this.publishers.map((publisher) => publisher.stop())), 'publishers to end', limit);
    try {
      await this.#mark(limit);
      await this.#mark(limit); // what was doubled or late has come before this one
    } catch (error) {
      this.note(error.message); // the checker says what is missing
    }
  }

  /** Publishes a marker for each photo and waits until every client has it, or a later one: markers get lost too. */
  async #mark(limit) {
    const end = performance.now() + limit;
    const lasts = new Map();
    const done = (watcher) => watcher.ready && watcher.photos.every((photo) => watcher.reached(photo, lasts.get(photo)));
    for (;;) {
      await within(Promise.all(this.publishers.map((publisher) => publisher.mark())), 'markers to be published', limit);
      for (const publisher of this.publishers) {
        for (const photo of publisher.ledgers.keys()) if (!lasts.has(photo)) lasts.set(photo, publisher.last(photo));
      }
      try {
        await until(() => this.watchers.every(done), () => `the markers at ${this.watchers.filter((watcher) => !done(watcher)).length} clients`, limit / 5);
        return;
      } catch (error) {
        if (performance.now() > end) throw error;
      }
    }
  }

  /** The checker's report. Only with mayForget Redis may have lost what it had confirmed. */
  async judge({ mayForget }) {
    const ledgers = new Map(this.publishers.flatMap((publisher) => [...publisher.ledgers]));
    let forgotten;
    if (this.options.mode !== 'plain') {
      const maps = await within(Promise.all(this.publishers.map((publisher) => publisher.forgotten())), 'the durable input', 30_000);
      const found = new Map(maps.flatMap((map) => [...map]));
      const count = [...found.values()].reduce((sum, { size }) => sum + size, 0);
      if (count > 0) this.note(`Redis forgot ${count} events that it had confirmed`);
      if (mayForget) forgotten = found;
    }
    return check(ledgers, this.watchers, { forgotten });
  }

  /** Takes down all of it, last first; what fails does not keep the rest. */
  async close() {
    while (this.#undo.length > 0) {
      try {
        await within(this.#undo.pop()(), 'a part to end', 15_000);
      } catch (error) {
        this.note(`cleanup: ${error.message}`);
      }
    }
  }

  note(text) {
    this.notes.push(text);
  }

  /** Lets time pass; the faults are what happens in it. */
  wait(ms) {
    return sleep(ms);
  }

  /** The running replica that holds the lease of the channel, once there is one that is not `but`. */
  leader({ channel = CHANNEL, but } = {}) {
    return until(async () => {
      for (const replica of this.replicas) {
        if (replica !== but && (await replica.leads()).includes(channel)) return replica;
      }
      return undefined;
    }, `a replica that holds the lease of ${channel}`, LEASE);
  }

  /** A running replica that leads nothing, or at least not the channel of the events. */
  async follower() {
    const leader = await this.leader();
    const others = this.replicas.filter((replica) => replica !== leader && replica.running);
    for (const replica of others) if ((await replica.leads()).length === 0) return replica;
    return others[0];
  }

  /** Notes how long it takes until another replica leads. */
  async takeover(from, start = performance.now()) {
    const next = await this.leader({ but: from });
    this.note(`${next.name} took over from ${from.name} in ${Math.round(performance.now() - start)} ms`);
    return next;
  }

  clientsOf(replica) {
    return this.watchers.filter((watcher) => watcher.replica === replica.name);
  }

  /** Each of these clients loses its transport, with or without a word. */
  drop(watchers) {
    for (const watcher of watchers) {
      if (this.random.next() < 0.5) watcher.leave();
      else watcher.vanish();
    }
  }

  /** Every second one. */
  someOf(watchers) {
    return watchers.filter((_, i) => i % 2 === 0);
  }

  /** Every client is connected and subscribed. */
  async back() {
    await this.wait(100); // until the clients have heard that their connections are gone
    await until(() => this.watchers.every(({ ready }) => ready), () => {
      const late = this.watchers.filter(({ ready }) => !ready);
      return `all clients to be subscribed; ${late.length} are not, ${late[0].name}: ${JSON.stringify(late[0].record.slice(-3))}`;
    }, 30_000);
  }

  async #admit() {
    const { clients, photos, watched, connectTimeout } = this.options;
    this.photos = Array.from({ length: photos }, (_, i) => `photo-${i}`);
    this.#undo.push(() => this.watchers.forEach((watcher) => watcher.close()));
    for (let i = 0; i < clients; i += 1) {
      const first = Math.floor((i * photos) / clients);
      const mine = Array.from({ length: watched }, (_, k) => this.photos[(first + k * Math.max(1, Math.floor(photos / watched))) % photos]);
      this.watchers.push(new Watcher(`client-${i}`, { photos: [...new Set(mine)], route: this.route, connectTimeout }));
      if (i % 50 === 49) await this.back();
    }
    await this.back();
  }

  async #employ() {
    const { publishers, rate, mode, retry } = this.options;
    for (let i = 0; i < publishers; i += 1) {
      const photos = this.photos.filter((_, n) => n % publishers === i);
      const redis = this.kind.connect(this.redis);
      redis.on('error', () => {}); // the command that fails tells
      const publisher = new Publisher(redis, photos, { mode, rate: rate / publishers, retry, random: this.random.fork() });
      this.publishers.push(publisher);
      this.#undo.push(() => publisher.close());
    }
    await until(() => this.publishers.every(({ redis }) => redis.status === 'ready'), 'publishers to reach Redis');
  }
}
