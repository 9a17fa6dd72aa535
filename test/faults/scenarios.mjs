// What may go wrong. Each scenario is one kind of fault under load; its run does the harm and lets it heal, and site
// publishes meanwhile. The short form does it once with few clients, the long one again and again with more.

const SIZE = {
  short: { clients: 30, photos: 12, watched: 4, publishers: 3, rate: 200 },
  long: { clients: 60, photos: 24, watched: 4, publishers: 4, rate: 300 },
};

/** A server that does not answer is given up soon, where that is part of the fault. */
const QUICK = { connectTimeout: 1500 };

async function rounds(site, { short = 1, long }, round) {
  for (let i = 0; i < (site.options.long ? long : short); i += 1) await round(i);
}

async function killAndRestart(site, replica) {
  await replica.kill();
  await site.wait(3000);
  await replica.start();
  await site.wait(1500);
}

async function killLeader(site) {
  await rounds(site, { long: 8 }, async () => {
    const leader = await site.leader();
    await leader.kill();
    await Promise.all([site.takeover(leader), site.wait(3000)]);
    await leader.start();
    await site.wait(1500);
  });
}

async function killFollower(site) {
  await rounds(site, { long: 8 }, async () => killAndRestart(site, await site.follower()));
}

/** Beyond its lease. Half of its clients go elsewhere at once, half wait; the thawed one must not take up where it was. */
async function freezeLeader(site) {
  await rounds(site, { long: 5 }, async () => {
    const leader = await site.leader();
    leader.freeze();
    site.drop(site.someOf(site.clientsOf(leader)));
    await Promise.all([site.takeover(leader), site.wait(6000)]);
    leader.thaw();
    await site.wait(3000);
  });
}

async function restartRedis(site) {
  await rounds(site, { long: 6 }, async () => {
    await site.redis.stop('SIGKILL');
    await site.wait(2000);
    await site.redis.start();
    await site.wait(1500);
    site.drop(site.someOf(site.watchers)); // who they are has survived too
    await site.wait(2500);
  });
}

/** Resets, then no connection at all for longer than a lease. */
async function cutLink(site) {
  await rounds(site, { long: 4 }, async () => {
    for (const replica of [await site.follower(), await site.leader()]) {
      replica.link.reset();
      await site.wait(1500);
    }
    const leader = await site.leader();
    leader.link.cut();
    site.drop(site.someOf(site.clientsOf(leader)));
    await Promise.all([site.takeover(leader), site.wait(3500)]);
    leader.link.mend();
    await site.wait(2000);
  });
}

/** What the leader had sent to Redis arrives when another one leads already. */
async function freezeLink(site) {
  await rounds(site, { long: 4 }, async (i) => {
    const leads = i % 2 === 0;
    const replica = leads ? await site.leader() : await site.follower();
    replica.link.freeze();
    site.drop(site.someOf(site.clientsOf(replica)));
    await Promise.all([leads && site.takeover(replica), site.wait(8000)]);
    replica.link.thaw();
    await site.wait(3000);
  });
}

async function failOverSentinel(site) {
  await rounds(site, { long: 3 }, async () => {
    const dead = await site.redis.failOver();
    await site.wait(1500);
    site.drop(site.someOf(site.watchers));
    await site.wait(2500);
    await dead.start(); // it believes to be the master, until a Sentinel tells it
    if (site.options.long) await site.redis.settled();
  });
}

async function failOverCluster(site) {
  await rounds(site, { long: 4 }, async () => {
    const [log] = await site.redis.streamsWith('nsp');
    if (!log) throw new Error('no stream with entries of a log (field nsp) in the cluster');
    const dead = await site.redis.failOver(log);
    await site.wait(1500);
    site.drop(site.someOf(site.watchers));
    await site.wait(1500);
    await dead.start();
    await site.redis.settled();
    await site.wait(1000);
  });
}

async function rollingRestart(site) {
  await rounds(site, { long: 4 }, async () => {
    for (const replica of site.replicas) {
      await replica.stop();
      await replica.start();
    }
  });
  await site.wait(1000);
}

/** All clients are on A; it dies, and they are back at once. */
async function herd(site) {
  await rounds(site, { long: 4 }, async () => {
    const [crowded] = site.replicas.filter((replica) => site.clientsOf(replica).length > site.watchers.length / 2);
    const others = site.replicas.filter((replica) => replica !== crowded);
    site.route.use(site.options.long ? [others[0]] : others);
    const start = performance.now();
    await crowded.kill();
    await site.back();
    site.note(`${site.watchers.length} clients were back in ${Math.round(performance.now() - start)} ms`);
    await crowded.start();
    await site.wait(2000);
  });
}

async function flap(site) {
  const end = performance.now() + (site.options.long ? 45_000 : 8000);
  await Promise.all(site.watchers.map(async (watcher) => {
    const random = site.random.fork();
    while (performance.now() < end) {
      await site.wait(random.between(300, 1000));
      if (random.next() < 0.5) watcher.leave();
      else watcher.vanish();
    }
  }));
}

/** As soon as it is ready all clients go there, and from there back. */
async function join(site) {
  await rounds(site, { long: 6 }, async (i) => {
    const old = site.replicas.filter(({ running }) => running);
    await site.wait(1000);
    const fresh = await site.add(`D${i}`);
    site.route.use([fresh]);
    site.drop(site.watchers);
    await site.back();
    await site.wait(1000);
    site.route.use(old);
    site.drop(site.watchers);
    await site.back();
    await site.wait(500);
    if (site.options.long) await fresh.stop();
  });
}

const LOG_SURVIVES = {};
/**
 * A failover of Redis forgets what was confirmed and not yet copied. That is measured, not judged, and a client may be
 * told of it; but whatever one client got, no other may lack without a word.
 */
const LOG_MAY_FORGET = { mayForget: true, expected: { lost: Infinity, unrecovered: Infinity } };
const LOG_IS_COPIED = { mayForget: true, expected: { unrecovered: Infinity } };
const FAILOVER = { durable: LOG_MAY_FORGET, wait: LOG_IS_COPIED };
const BOTH = { durable: LOG_SURVIVES, plain: LOG_SURVIVES };

/** modes: how it is published, and what that may cost. */
export const SCENARIOS = {
  'kill-leader': { about: 'kill -9 of the leader, started again after 3 s', run: killLeader, modes: BOTH },
  'kill-follower': { about: 'kill -9 of a replica that leads nothing', run: killFollower, modes: BOTH },
  'freeze-leader': { about: 'the leader stopped for 6 s, longer than its lease', run: freezeLeader, modes: BOTH, options: QUICK },
  'restart-redis': {
    about: 'kill -9 of a Redis with AOF, started again after 2 s', run: restartRedis,
    modes: { durable: LOG_SURVIVES, plain: { options: { retry: false } } }, // what failed while it was away is gone
    options: { redisOptions: { appendOnly: true, settings: { appendfsync: 'always' } } },
  },
  'cut-link': { about: 'one replica loses its connections to Redis', run: cutLink, modes: BOTH, options: { links: true } },
  'freeze-link': {
    about: 'nothing passes between one replica and Redis for 8 s', run: freezeLink, modes: { durable: LOG_SURVIVES },
    options: { links: true },
  },
  sentinel: { about: 'the master under Sentinels is killed', run: failOverSentinel, modes: FAILOVER, options: { redis: 'sentinel' } },
  'redis-cluster': { about: 'the master of the log in a Redis Cluster is killed', run: failOverCluster, modes: FAILOVER, options: { redis: 'cluster' } },
  'rolling-restart': { about: 'SIGTERM and start of every replica, one after the other', run: rollingRestart, modes: BOTH },
  herd: {
    about: 'all clients lose their replica at once and return at once', run: herd, modes: { durable: LOG_SURVIVES },
    options: { direct: true, target: 'A', connectTimeout: 20_000, photos: 50, watched: 1, rate: 100, clients: 300 },
    long: { clients: 2000, rate: 50 },
  },
  flap: { about: 'every client loses its connection every 0.3 to 1 s', run: flap, modes: BOTH },
  join: { about: 'a fourth replica starts, and all clients go there at once', run: join, modes: BOTH },
};

/** All runs there are: { name, mode, about, run, options, mayForget, expected }. */
export function runs({ long = false } = {}) {
  return Object.entries(SCENARIOS).flatMap(([name, scenario]) => Object.entries(scenario.modes).map(([mode, outcome]) => ({
    name, mode, about: scenario.about, run: scenario.run,
    options: { ...SIZE[long ? 'long' : 'short'], ...scenario.options, ...(long && scenario.long), ...outcome.options, mode, long },
    mayForget: outcome.mayForget ?? false,
    expected: outcome.expected ?? {},
  })));
}
