// The health port: probes that answer different questions, and numbers that move with what happens.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { until } from './lib/await.mjs';
import { cleanup } from './lib/cleanup.mjs';
import { Client, TRANSPORTS } from './lib/client.mjs';
import { event, numbered, publish, range } from './lib/events.mjs';
import { RawClient } from './lib/raw.mjs';
import { RedisServer } from './lib/redis.mjs';
import { startAlone, startServer } from './lib/server.mjs';
import { unique } from './lib/tokens.mjs';
import { watching } from './lib/watching.mjs';

const ACTIVE = 'eventbus_websocket_active_connections';
const CONNECTIONS = 'eventbus_websocket_connections_total';
const DISCONNECTIONS = 'eventbus_websocket_disconnections_total';
const RECEIVED = 'eventbus_events_received_total';
const ERRORS = 'eventbus_event_errors_total';
const ROOMS = 'eventbus_active_rooms_total';
const BROADCAST = 'eventbus_room_broadcast_duration_milliseconds';

let redis;
let server;

before(async () => {
  redis = await RedisServer.start();
  server = await startServer(redis);
});

after(async () => {
  await server?.stop();
  await redis?.remove();
});

/** The numbers once everybody has left. */
async function quiet() {
  await server.clients(0);
  return server.metrics();
}

/** Waits until a number has moved by `by` since the snapshot `from`, and not further. */
async function moves(from, name, labels, by) {
  const want = from.value(name, labels) + by;
  let got;
  await until(async () => {
    got = (await server.metrics()).value(name, labels);
    return got === want;
  }, () => `${name} ${JSON.stringify(labels)} = ${want}, got ${got}`);
}

describe('probes', () => {
  test('live and ready are 200', async () => {
    for (const path of ['/health/live', '/health/ready']) assert.equal((await server.probe(path)).status, 200, path);
  });

  test('what is internal is not on the public port', async () => {
    for (const path of ['/metrics', '/health', '/health/ready', '/api/v1/stats']) {
      assert.equal((await fetch(server.url + path)).status, 404, path);
    }
  });
});

describe('metrics', () => {
  test('are Prometheus text with the agreed names and types', async (t) => {
    const client = await Client.identified(t, server, { reconnection: false });
    const started = event('photo.processing.started', { photoId: 'p', userId: client.user, jobId: 'j', stages: [] });
    await publish(redis, started);
    await client.received('processing.event', 1);
    const from = await server.metrics();
    await redis.client.publish('photo:processing', 'not JSON');
    await moves(from, ERRORS, { channel: 'photo:processing' }, 1);
    client.drop();
    await moves(from, DISCONNECTIONS, {}, 1);

    const { headers } = await server.probe('/metrics');
    assert.match(headers.get('content-type'), /^text\/plain; version=(0\.0\.4|1\.0\.0)/);
    const page = await server.metrics();
    const NAMES = {
      [ACTIVE]: 'gauge',
      [CONNECTIONS]: 'counter',
      [DISCONNECTIONS]: 'counter',
      [RECEIVED]: 'counter',
      [ERRORS]: 'counter',
      [ROOMS]: 'gauge',
      [BROADCAST]: 'histogram',
    };
    for (const [name, type] of Object.entries(NAMES)) {
      await t.test(name, () => assert.equal(page.types.get(name), type));
    }
    assert.ok(page.value(`${BROADCAST}_count`) >= 1);
  });

  for (const [transport, options] of Object.entries(TRANSPORTS)) {
    test(`count clients that come and go, ${transport}`, async (t) => {
      const from = await quiet();
      const [first, second] = [await Client.connect(t, server, options), await Client.connect(t, server, { ...options, reconnection: false })];
      await moves(from, ACTIVE, {}, 2);
      await moves(from, CONNECTIONS, {}, 2);
      first.socket.disconnect();
      await moves(from, DISCONNECTIONS, { reason: 'client namespace disconnect' }, 1);
      await moves(from, ACTIVE, {}, 1);
      second.drop();
      await moves(from, DISCONNECTIONS, { reason: 'transport close' }, 1);
      await moves(from, ACTIVE, {}, 0);
      await moves(from, DISCONNECTIONS, {}, 2);
      await moves(from, CONNECTIONS, {}, 2);
    });
  }

  test('do not count a refused client', async (t) => {
    const from = await quiet();
    const refused = new Client(t, server, { auth: { token: 'bad' } });
    await refused.state((s) => s.state === 'refused', 'a refusal');
    await Client.connect(t, server);
    await moves(from, CONNECTIONS, {}, 1);
    await moves(from, ACTIVE, {}, 1);
  });

  test('count rooms that are watched, once each', async (t) => {
    const from = await quiet();
    const [a, b] = [await Client.connect(t, server), await Client.connect(t, server)];
    const photoId = unique('photo');
    const base = await server.metrics(); // whether a socket's own room counts is the server's affair
    await a.asks('subscribe:photo', { photoId });
    await moves(base, ROOMS, {}, 1);
    await b.asks('subscribe:photo', { photoId });
    await b.asks('subscribe:photo', { photoId: unique('photo') });
    await moves(base, ROOMS, {}, 2);
    await a.asks('unsubscribe:photo', { photoId });
    await moves(base, ROOMS, {}, 2);
    await b.asks('unsubscribe:photo', { photoId });
    await moves(base, ROOMS, {}, 1);
    await a.asks('identify', { clientId: unique('client'), sessionId: unique('session') });
    await moves(base, ROOMS, {}, 4); // client, session, user
    a.close();
    b.close();
    await moves(from, ROOMS, {}, 0);
  });

  test('count events by channel and type, and messages that are none', async () => {
    const from = await quiet();
    const started = () => event('photo.processing.started', { photoId: 'p', jobId: 'j', stages: [] });
    await publish(redis, started(), ...numbered('p', 0, 5), started(), event('photo.deleted', { photoId: 'p', userId: 'u' }));
    await redis.client.publish('photo:upload', '{"id":');
    await moves(from, RECEIVED, { channel: 'photo:processing', event_type: 'photo.processing.started' }, 2);
    await moves(from, RECEIVED, { channel: 'photo:processing', event_type: 'photo.processing.stage.completed' }, 5);
    await moves(from, RECEIVED, { channel: 'photo:upload', event_type: 'photo.deleted' }, 1);
    await moves(from, ERRORS, { channel: 'photo:upload' }, 1);
    await moves(from, RECEIVED, {}, 8);
    await moves(from, ERRORS, {}, 1);
  });
});

test('REDIS_URL does for REDIS_HOST and REDIS_PORT', async (t) => {
  const bus = await startServer(redis, { REDIS_HOST: undefined, REDIS_PORT: undefined, REDIS_URL: `redis://127.0.0.1:${redis.port}/0` });
  cleanup(t, () => bus.stop());
  const client = await Client.identified(t, bus);
  const deleted = event('photo.deleted', { photoId: 'p', userId: 'u' }, { clientId: client.clientId });
  await publish(redis, deleted);
  assert.deepEqual(await client.received('upload.event', 1), [deleted]);
});

test('a client that falls silent is closed and counted as a ping timeout', async (t) => {
  const strict = (await startAlone(t, { PING_INTERVAL: '300ms', PING_TIMEOUT: '200ms' })).server;
  const raw = await RawClient.connect(t, strict);
  await raw.frame('2'); // the ping it leaves unanswered
  await until(() => raw.closed, 'the server to close');
  await strict.clients(0);
  const page = await strict.metrics();
  assert.equal(page.value(DISCONNECTIONS, { reason: 'ping timeout' }), 1);
  assert.equal(page.value(DISCONNECTIONS), 1);
});

describe('without Redis', () => {
  test('clients stay, readiness stays; with it again events flow', async (t) => {
    const { redis: store, server: bus } = await startAlone(t, {}, { appendOnly: true });
    const client = await watching(t, bus);
    await store.stop();
    for (const path of ['/health/live', '/health/ready']) assert.equal((await bus.probe(path)).status, 200, path);
    await client.asks('heartbeat');

    await store.start();
    let number = 0;
    await until(async () => {
      const [e] = numbered(client.photoId, number, number + 1);
      number += 1;
      await store.client.publish('photo:processing', JSON.stringify(e));
      return client.bodies('processing.event').length > 0;
    }, 'an event');
    assert.deepEqual(client.states, [{ state: 'connect', detail: false }]);
    assert.equal((await bus.probe('/health/ready')).status, 200);
  });
});

test('a drain: not ready but alive, nobody new, transports closed one by one, exit code 0', async (t) => {
  const { server: bus } = await startAlone(t, { DRAIN_TIMEOUT: '2s' });
  const clients = await Promise.all(range(10).map(() => Client.connect(t, bus, { reconnection: false })));
  const left = [];
  for (const client of clients) client.socket.on('disconnect', () => left.push(performance.now()));

  bus.signal('SIGTERM');
  await until(async () => (await bus.probe('/health/ready')).status === 503, 'readiness to end');
  assert.equal((await bus.probe('/health/live')).status, 200);
  const stranger = await fetch(`${bus.url}/socket.io/?EIO=4&transport=polling`, { headers: { connection: 'close' } })
    .then(({ status }) => status, () => 'no connection');
  assert.notEqual(stranger, 200, 'a new client was let in');
  assert.ok(left.length < clients.length, 'all were gone before readiness was seen to end');

  for (const client of clients) assert.equal(await client.disconnected(), 'transport close');
  const [first, last] = [left.at(0), left.at(-1)];
  assert.ok(last - first > 200, `all closed within ${last - first} ms of the 2 s to spread them over`);
  assert.deepEqual(await bus.exit(), { code: 0, signal: null });
});

for (const signal of ['SIGTERM', 'SIGINT']) {
  test(`${signal} without clients ends it at once, exit code 0`, async (t) => {
    const { server: bus } = await startAlone(t, { DRAIN_TIMEOUT: '60s' });
    assert.deepEqual(await bus.stop(signal), { code: 0, signal: null });
  });
}
