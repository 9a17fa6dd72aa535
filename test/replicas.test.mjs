// Several replicas on one Redis are one service: whatever happens to one of them, clients miss nothing.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { until } from './lib/await.mjs';
import { cleanup } from './lib/cleanup.mjs';
import { Client, TRANSPORTS } from './lib/client.mjs';
import { add, event, numbered, numbers, publish, range } from './lib/events.mjs';
import { RedisServer } from './lib/redis.mjs';
import { startServer } from './lib/server.mjs';
import { token, unique } from './lib/tokens.mjs';
import { sees, watching } from './lib/watching.mjs';

const CHANNELS = ['photo:completion', 'photo:processing', 'photo:upload'];

/** Redis and replicas of a test's own, for one that harms them: { redis, servers }. */
async function cluster(t, count, { env = {}, appendOnly = false } = {}) {
  const redis = await RedisServer.start({ appendOnly });
  cleanup(t, () => redis.remove());
  const servers = await Promise.all(range(count).map(() => startServer(redis, env)));
  servers.forEach((server) => cleanup(t, () => server.stop()));
  return { redis, servers };
}

/** Makes the client come back to another server, the same socket with the same state. */
function move(client, server) {
  client.socket.io.uri = server.url;
}

/** The client's socket, connected to another server: resolves with whether it was recovered. */
async function comesBackTo(client, server) {
  const from = client.states.length;
  move(client, server);
  client.socket.connect();
  return client.connected(from);
}

/** The channels that each server leads. */
async function led(servers) {
  const all = await Promise.all(servers.map(async (server) => {
    const metrics = await server.metrics();
    return CHANNELS.filter((channel) => metrics.value('eventbus_leases_held', { channel }) === 1);
  }));
  return all;
}

const everyChannelIsLed = (servers) => until(async () => (await led(servers)).flat().sort().join() === CHANNELS.join(),
  async () => `one leader for each channel, got ${JSON.stringify(await led(servers))}`);

describe('two replicas', () => {
  let redis;
  let servers;

  before(async () => {
    redis = await RedisServer.start();
    servers = await Promise.all([startServer(redis), startServer(redis)]);
  });

  after(async () => {
    await Promise.all(servers?.map((server) => server.stop()) ?? []);
    await redis?.remove();
  });

  test('each event reaches the clients of both, once and in one order', async (t) => {
    const photos = [unique('photo'), unique('photo')];
    const clients = await Promise.all(servers.map((server) => Client.identified(t, server)));
    for (const client of clients) for (const photoId of photos) await client.asks('subscribe:photo', { photoId });
    for (const n of range(50)) {
      await Promise.all(photos.map((photoId) => publish(redis, ...numbered(photoId, n, n + 1))));
    }
    for (const client of clients) await client.received('processing.event', 100);
    assert.deepEqual(clients[0].bodies('processing.event'), clients[1].bodies('processing.event'));
    for (const photoId of photos) {
      const of = clients[0].bodies('processing.event').filter((e) => e.data.photoId === photoId);
      assert.deepEqual(of.map((e) => e.data.progress), range(50));
    }
  });

  test('share the channels between them', async () => {
    await everyChannelIsLed(servers);
    await until(async () => (await led(servers)).every((channels) => channels.length > 0), async () => `both to lead, got ${JSON.stringify(await led(servers))}`);
  });

  test('count each event once', async () => {
    const total = async () => (await Promise.all(servers.map((s) => s.metrics())))
      .reduce((sum, m) => sum + (m.value('eventbus_events_received_total', { channel: 'photo:upload', event_type: 'photo.deleted' }) ?? 0), 0);
    const start = await total();
    const e = event('photo.deleted', { photoId: unique('photo') });
    await publish(redis, e, e);
    await until(async () => await total() === start + 1, async () => `1 more, got ${await total() - start}`);
  });

  for (const [transport, options] of Object.entries(TRANSPORTS)) {
    test(`a client that comes back to the other is recovered, ${transport}`, async (t) => {
      const client = await watching(t, servers[0], { reconnection: false, ...options });
      const { id } = client.socket;
      await publish(redis, ...numbered(client.photoId, 0, 10));
      await client.received('processing.event', 10);
      client.drop();
      await client.disconnected();
      await publish(redis, ...numbered(client.photoId, 10, 20));
      assert.equal(await comesBackTo(client, servers[1]), true);
      assert.equal(client.socket.id, id);
      await publish(redis, ...numbered(client.photoId, 20, 30));
      await sees(client, 30);
      client.drop();
      await until(() => !client.socket.connected, () => 'a disconnect');
      await publish(redis, ...numbered(client.photoId, 30, 40));
      assert.equal(await comesBackTo(client, servers[0]), true, 'and back again');
      await sees(client, 40);
    });
  }

  test('a client is recovered by the other while its first connection is thought alive', async (t) => {
    const client = await watching(t, servers[0], { reconnection: false, ...TRANSPORTS.websocket });
    await publish(redis, ...numbered(client.photoId, 0, 5));
    await client.received('processing.event', 5);
    const { id } = client.socket;
    // A second connection with the secrets of the first, which stays open.
    const again = new Client(t, servers[1], { user: client.user, reconnection: false, ...TRANSPORTS.websocket, autoConnect: false });
    again.socket._pid = client.socket._pid;
    again.socket._lastOffset = client.socket._lastOffset;
    again.socket.connect();
    assert.equal(await again.connected(), true);
    assert.equal(again.socket.id, id);
    await client.disconnected(); // the first one is closed, as nobody can be in two places
    await publish(redis, ...numbered(client.photoId, 5, 10));
    await again.received('processing.event', 5);
    assert.deepEqual(numbers(again), range(10).slice(5));
  });

  test('what it may no longer see is not recovered elsewhere either', async (t) => {
    const client = await Client.identified(t, servers[0], { reconnection: false });
    const photoId = unique('photo');
    await client.asks('subscribe:photo', { photoId });
    await publish(redis, ...numbered(photoId, 0, 1));
    await client.received('processing.event', 1);
    client.drop();
    await client.disconnected();
    await publish(redis, ...numbered(photoId, 1, 3));
    client.socket.auth = { token: token({ userId: client.user, permissions: [] }) };
    assert.equal(await comesBackTo(client, servers[1]), true);
    await client.asks('heartbeat');
    assert.deepEqual(numbers(client), [0]);
  });

  test('somebody else does not get the session, nor take it away', async (t) => {
    const client = await watching(t, servers[0], { reconnection: false });
    await publish(redis, ...numbered(client.photoId, 0, 1));
    await client.received('processing.event', 1);
    const thief = new Client(t, servers[1], { reconnection: false, autoConnect: false });
    thief.socket._pid = client.socket._pid;
    thief.socket._lastOffset = client.socket._lastOffset;
    thief.socket.connect();
    assert.equal(await thief.connected(), false);
    await publish(redis, ...numbered(client.photoId, 1, 2));
    await sees(client, 2);
    client.drop();
    await client.disconnected();
    assert.equal(await comesBackTo(client, servers[1]), true);
  });

  for (const [what, offset] of Object.entries({ forged: '1-1', future: '99999999999999-0', garbage: 'x', 'another time': '1700000000000-5' })) {
    test(`an offset that is ${what} is not recovered from`, async (t) => {
      const client = await watching(t, servers[0], { reconnection: false });
      client.drop();
      await client.disconnected();
      client.socket._lastOffset = offset;
      assert.equal(await comesBackTo(client, servers[1]), false);
    });
  }
});

describe('durable events', () => {
  test('are delivered once, in order, though they were added before anybody was there', async (t) => {
    const { redis, servers: [first] } = await cluster(t, 1);
    const client = await watching(t, first, { reconnection: false });
    await add(redis, ...numbered(client.photoId, 0, 50));
    await client.received('processing.event', 50);
    client.drop();
    await client.disconnected();
    await first.stop();
    const events = numbered(client.photoId, 50, 100);
    await add(redis, ...events);
    const second = await startServer(redis);
    cleanup(t, () => second.stop());
    assert.equal(await comesBackTo(client, second), true);
    await add(redis, ...events.slice(0, 10)); // its publisher was not sure
    await add(redis, ...numbered(client.photoId, 100, 110));
    await sees(client, 110);
  });

  test('bad ones are dropped, and their neighbours pass', async (t) => {
    const { redis, servers: [server] } = await cluster(t, 1);
    const client = await watching(t, server);
    const stream = 'eventbus:in:photo:processing';
    await add(redis, ...numbered(client.photoId, 0, 1));
    await redis.client.xadd(stream, '*', 'event', 'nonsense');
    await redis.client.xadd(stream, '*', 'other', 'field');
    await add(redis, ...numbered(client.photoId, 1, 2));
    await sees(client, 2);
    const metrics = await server.metrics();
    assert.equal(metrics.value('eventbus_event_errors_total', { channel: 'photo:processing', error_type: 'malformed', category: 'validation' }), 2);
  });
});

describe('the service restarts', () => {
  for (const signal of ['SIGTERM', 'SIGKILL']) {
    test(`its clients are recovered by the next process, ${signal}`, async (t) => {
      const { redis, servers: [first] } = await cluster(t, 1);
      const client = await watching(t, first);
      await publish(redis, ...numbered(client.photoId, 0, 10));
      await client.received('processing.event', 10);
      const from = client.states.length;
      const { port } = first;
      if (signal === 'SIGTERM') await first.stop();
      else {
        first.signal(signal);
        await first.exit();
      }
      await add(redis, ...numbered(client.photoId, 10, 20));
      const next = await startServer(redis, { WEBSOCKET_PORT: port });
      cleanup(t, () => next.stop());
      assert.equal(await client.connected(from), true);
      await add(redis, ...numbered(client.photoId, 20, 30));
      await sees(client, 30);
    });
  }

  test('and what was subscribed right before a kill is subscribed afterwards', async (t) => {
    const { redis, servers } = await cluster(t, 2);
    for (const round of range(5)) {
      const client = await Client.identified(t, servers[0], { reconnection: false });
      const photoId = unique('photo');
      await client.asks('subscribe:photo', { photoId });
      if (round < 4) client.drop();
      else {
        servers[0].signal('SIGKILL'); // right after the answer
        await servers[0].exit();
      }
      await client.disconnected();
      assert.equal(await comesBackTo(client, servers[1]), true);
      await publish(redis, ...numbered(photoId, 0, 3));
      await client.received('processing.event', 3);
    }
  });
});

describe('a leader dies', () => {
  test('another one leads within seconds, and nothing is lost or doubled', async (t) => {
    const { redis, servers } = await cluster(t, 3);
    await everyChannelIsLed(servers);
    const leader = (await led(servers)).findIndex((channels) => channels.includes('photo:processing'));
    const others = servers.filter((_, i) => i !== leader);
    const clients = await Promise.all(others.map((server) => watching(t, server)));
    for (const client of clients.slice(1)) {
      client.photoId = clients[0].photoId;
      await client.asks('subscribe:photo', { photoId: client.photoId });
    }
    const { photoId } = clients[0];
    await publish(redis, ...numbered(photoId, 0, 20));
    servers[leader].signal('SIGKILL');
    await publish(redis, ...numbered(photoId, 20, 40));
    await servers[leader].exit();
    await publish(redis, ...numbered(photoId, 40, 60));
    await add(redis, ...numbered(photoId, 60, 61));
    await everyChannelIsLed(others);
    for (const client of clients) await sees(client, 61);
  });
});
