// The HTTP API over two replicas, held against its own OpenAPI document: what it says, does and refuses.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { ConfigFile, replicas } from './lib/api.mjs';
import { until } from './lib/await.mjs';
import { cleanup } from './lib/cleanup.mjs';
import { Client } from './lib/client.mjs';
import { add, event, numbered, range } from './lib/events.mjs';
import { Caller, Document } from './lib/openapi.mjs';
import { RedisServer } from './lib/redis.mjs';
import { startServer } from './lib/server.mjs';
import { token, unique } from './lib/tokens.mjs';
import { sees, watching } from './lib/watching.mjs';
import { ALLOWED, Receiver } from './lib/webhook.mjs';

let redis;
let servers;
let document;
let admins; // the same admin, at each replica
let admin; // at the first
let config;
const fake = { after(undo) { this.end = undo; } }; // what is under way from beginning to end, cleans up at the end
let outage; // what becomes of the health while Redis is away, which takes its time

const CHANNEL = 'photo:processing';

/** What a fleet agrees on within a moment: it polls for what has changed. */
const agreed = (condition, what) => until(condition, what, 5000);

before(async () => {
  redis = await RedisServer.start();
  config = new ConfigFile(undefined, { security: { photoAccess: 'any', eventValidation: { 'photo.deleted': [{ name: 'whole', type: 'schema' }] } } });
  const env = { ...ALLOWED, RATE_LIMIT: 'false', CONFIG_FILE: config.path };
  servers = await Promise.all(range(2).map(() => startServer(redis, env)));
  document = await Document.of(servers[0]);
  const bearer = token({ userId: 'operator', roles: ['admin'] });
  admins = servers.map((server) => new Caller(document, server, bearer));
  [admin] = admins;
  outage = takeRedisAway(fake);
  outage.catch(() => {}); // its test tells
});

after(async () => {
  await fake.end?.();
  config?.remove();
  await Promise.all((servers ?? []).map((server) => server.stop()));
  await redis?.remove();
});

const healthOf = async (server) => JSON.parse((await server.probe('/health')).body);

/** Takes Redis away from a replica of its own, and gives it back. */
async function takeRedisAway(t) {
  const { redis: store, servers: [server] } = await replicas(t, 1);
  const client = await watching(t, server);
  assert.equal((await healthOf(server)).message, '4/4 checks passing');
  store.program.signal('SIGSTOP');
  let health;
  await until(async () => {
    health = await healthOf(server);
    return health.status !== 'healthy';
  }, 'Redis to be missed', 45_000);
  assert.equal(health.status, 'degraded');
  assert.equal(health.message, '3/4 checks passing');
  assert.deepEqual(health.checks.map(({ status }) => status), ['unhealthy', 'healthy', 'healthy', 'healthy']);
  for (const path of ['/health/live', '/health/ready', '/health/startup', '/health', '/health?strict=true']) {
    assert.equal((await server.probe(path)).status, 200, path);
  }
  await client.asks('heartbeat');
  const answer = await admin.at(server).ask('POST', '/events', numbered('p', 0, 1)[0]); // waits for what it can
  assert.equal(answer.status, 503);
  assert.match(answer.headers['retry-after'], /^\d+$/);
  store.program.signal('SIGCONT');
  await until(async () => (await healthOf(server)).status === 'healthy', 'Redis to be seen again', 45_000);
  assert.deepEqual(client.states.map(({ state: s }) => s), ['connect']);
}

/** A client that watches a photo at each replica: the same photo. */
async function pair(t) {
  const clients = await Promise.all(servers.map((server) => watching(t, server)));
  await clients[1].asks('subscribe:photo', { photoId: clients[0].photoId });
  clients[1].photoId = clients[0].photoId;
  return clients;
}

/** Resolves once both clients have count events of the channel, and returns those of each. */
async function both(clients, count) {
  for (const client of clients) {
    await client.received('processing.event', count);
    await client.asks('heartbeat'); // nothing more was on the way
  }
  return clients.map((client) => client.bodies('processing.event'));
}

test('the document is OpenAPI 3.1, for anybody, the same at every replica', async () => {
  assert.match(document.text.openapi, /^3\.1\./);
  assert.deepEqual((await Document.of(servers[1])).text, document.text);
  const anybody = admin.with(undefined);
  await anybody.gets(200, 'GET', '/openapi.json');
});

describe('publishing', () => {
  for (const durable of [true, false]) {
    const query = durable ? '' : '?durable=false';

    test(`one event reaches the browsers of both replicas byte for byte, durable ${durable}`, async (t) => {
      const clients = await pair(t);
      const [e] = numbered(clients[0].photoId, 0, 1);
      for (const [i, by] of admins.entries()) {
        const one = { ...e, id: randomUUID() };
        const accepted = await by.gets(202, 'POST', `/events${query}`, one);
        assert.deepEqual(accepted, { id: one.id, channel: CHANNEL, status: 'accepted' });
        for (const seen of await both(clients, i + 1)) assert.deepEqual(seen[i], one);
      }
    });

    test(`a batch, in its order, durable ${durable}`, async (t) => {
      const clients = await pair(t);
      const events = numbered(clients[0].photoId, 0, 100);
      const { results } = await admins[1].gets(202, 'POST', `/events/batch${query}`, { events: events.map((e) => ({ event: e })) });
      assert.deepEqual(results, events.map(({ id }) => ({ id, channel: CHANNEL, status: 'accepted' })));
      for (const client of clients) await sees(client, 100);
    });
  }

  test('a batch with events that are none: those are refused one by one, the others taken', async (t) => {
    const clients = await pair(t);
    const [first, second] = numbered(clients[0].photoId, 0, 2);
    const bad = [
      [400, {}],
      [400, 'text'],
      [400, { ...first, id: randomUUID(), data: [] }],
      [422, event('photo.uploaded', { photoId: 'p' })],
      [400, event('nobody.knows.this', {})],
    ];
    const events = [{ event: first }, ...bad.map(([, e]) => ({ event: e })), { event: second, channel: CHANNEL }];
    const { results } = await admin.gets(207, 'POST', '/events/batch', { events });
    assert.deepEqual(results.map(({ status }) => status), ['accepted', ...bad.map(() => 'refused'), 'accepted']);
    assert.deepEqual(results.slice(1, -1).map(({ error }) => error.status), bad.map(([status]) => status));
    for (const client of clients) await sees(client, 2);
  });

  test('what an event leaves out is completed', async (t) => {
    const [client] = await pair(t);
    const { id } = await admin.gets(202, 'POST', '/events', { type: 'photo.processing.stage.completed', data: numbered(client.photoId, 0, 1)[0].data });
    const [seen] = await client.received('processing.event', 1);
    assert.equal(seen.id, id);
    assert.deepEqual(seen.metadata, { source: 'operator', version: '1.0' });
    assert.ok(Math.abs(Date.now() - Date.parse(seen.timestamp)) < 60_000, seen.timestamp);
  });

  test('a CloudEvent', async (t) => {
    const [client] = await pair(t);
    const { data, type } = numbered(client.photoId, 0, 1)[0];
    const cloud = { specversion: '1.0', id: randomUUID(), source: '/uploader', type, time: '2026-01-02T15:04:05Z', data };
    await admin.gets(202, 'POST', '/events', JSON.stringify(cloud), { 'content-type': 'application/cloudevents+json; charset=utf-8' });
    const [seen] = await client.received('processing.event', 1);
    assert.deepEqual([seen.id, seen.type, seen.data, seen.metadata.source], [cloud.id, type, data, cloud.source]);
  });

  test('the same id is delivered once, whichever replica it was given to', async (t) => {
    const clients = await pair(t);
    const [e, last] = numbered(clients[0].photoId, 0, 2);
    for (const by of [admin, admins[1], admin]) await by.gets(202, 'POST', '/events', e);
    await admin.gets(202, 'POST', '/events', last);
    for (const client of clients) await sees(client, 2);
  });

  describe('with an Idempotency-Key', () => {
    const body = (client) => {
      const { id, ...e } = numbered(client.photoId, 0, 1)[0];
      return e; // an id would do by itself
    };

    test('a request is done once, at whichever replica it comes again', async (t) => {
      const clients = await pair(t);
      const headers = { 'idempotency-key': `"${randomUUID()}" and more` };
      const e = body(clients[0]);
      const first = await admin.ask('POST', '/events', e, headers);
      assert.equal(first.status, 202);
      assert.equal(first.headers['idempotency-replayed'], undefined);
      for (const by of [admins[1], admin]) {
        const again = await by.ask('POST', '/events', e, headers);
        assert.equal(again.status, 202);
        assert.equal(again.headers['idempotency-replayed'], 'true');
        assert.deepEqual(again.body, first.body);
      }
      await admin.gets(202, 'POST', '/events', numbered(clients[0].photoId, 1, 2)[0]);
      for (const client of clients) await sees(client, 2);

      const reused = await admins[1].gets(422, 'POST', '/events', { ...e, type: 'photo.deleted' }, headers);
      assert.deepEqual(reused.errors.map(({ field }) => field), ['Idempotency-Key']);
      // The key is of one caller and one operation.
      const other = await admin.with(token({ userId: 'other', roles: ['admin'] })).ask('POST', '/events', e, headers);
      assert.equal(other.headers['idempotency-replayed'], undefined);
    });

    test('many at the same time, at both replicas: once', async (t) => {
      const clients = await pair(t);
      const headers = { 'idempotency-key': randomUUID() };
      const e = body(clients[0]);
      const answers = await Promise.all(range(12).map((i) => admins[i % 2].ask('POST', '/events', e, headers)));
      const taken = answers.filter(({ status }) => status === 202);
      assert.ok(taken.length >= 1);
      for (const { status } of answers) assert.ok([202, 409].includes(status), `${status}`);
      assert.equal(new Set(taken.map((a) => a.body.id)).size, 1);
      assert.equal(taken.filter((a) => a.headers['idempotency-replayed'] === undefined).length, 1);
      await admin.gets(202, 'POST', '/events', numbered(clients[0].photoId, 1, 2)[0]);
      for (const client of clients) await sees(client, 2);
    });

    test('a batch', async (t) => {
      const clients = await pair(t);
      const headers = { 'idempotency-key': randomUUID() };
      const events = range(3).map((i) => ({ event: { ...body(clients[0]), data: numbered(clients[0].photoId, i, i + 1)[0].data } }));
      const first = await admin.gets(202, 'POST', '/events/batch', { events }, headers);
      assert.deepEqual(await admins[1].gets(202, 'POST', '/events/batch', { events }, headers), first);
      for (const client of clients) await sees(client, 3);
    });

    test('a refusal is kept, too', async () => {
      const headers = { 'idempotency-key': randomUUID() };
      const bad = event('photo.uploaded', { photoId: 'p' });
      const first = await admin.gets(422, 'POST', '/events', bad, headers);
      assert.deepEqual(await admins[1].gets(422, 'POST', '/events', bad, headers), first);
    });

    for (const [what, key] of Object.entries({ 'empty': '', 'too long': 'k'.repeat(256), 'not ASCII': 'schlüssel' })) {
      test(`${what}: 400`, async () => {
        const { errors } = await admin.gets(400, 'POST', '/events', numbered('p', 0, 1)[0], { 'idempotency-key': key });
        assert.deepEqual(errors.map(({ field }) => field), ['Idempotency-Key']);
      });
    }
  });

  test('a user publishes where the permission says, and nowhere else', async (t) => {
    const [client] = await pair(t);
    const [e] = numbered(client.photoId, 0, 1);
    const user = admin.with(token({ userId: unique('user'), permissions: [`event_bus:publish:${CHANNEL}`] }));
    await user.gets(202, 'POST', '/events', e);
    const failed = event('photo.processing.failed', { photoId: client.photoId, jobId: 'j', stage: 's', error: { code: 'E', message: 'm' }, retryable: false });
    await user.gets(403, 'POST', '/events', failed);
    await user.gets(403, 'POST', `/events?channel=${encodeURIComponent('photo:upload')}`, e);
    const { results } = await user.gets(207, 'POST', '/events/batch', { events: [{ event: failed }, { event: { ...e, id: randomUUID() } }] });
    assert.deepEqual(results.map(({ error }) => error?.status), [403, undefined]);
    await both([client], 2);
    assert.deepEqual(client.bodies('completion.event'), []);
  });

  test('an outbound filter drops, and says so', async (t) => {
    const id = unique('outbound');
    const stage = unique('stage');
    await admin.gets(201, 'PUT', `/filters/${id}`, {
      type: 'exclude', direction: 'outbound', channels: [CHANNEL], conditions: [{ field: 'data.stage', operator: 'eq', value: stage }], action: { type: 'drop' },
    });
    cleanup(t, () => admin.gets(204, 'DELETE', `/filters/${id}`));
    const e = numbered('p', 0, 1)[0];
    e.data.stage = stage;
    await agreed(async () => {
      const answers = await Promise.all(admins.map((by) => by.gets(202, 'POST', '/events', { ...e, id: randomUUID() })));
      return answers.every((answer) => answer.status === 'dropped' && answer.filter === id);
    }, 'both replicas to drop');
  });
});

describe('connections and rooms', () => {
  test('of all replicas, with who they are', async (t) => {
    const transports = [['websocket'], ['polling'], ['polling', 'websocket']];
    const agents = ['a', 'b', 'c'.repeat(1000)];
    const clients = await Promise.all(range(3).map((i) => Client.identified(t, servers[i % 2], {
      transports: transports[i], extraHeaders: { 'user-agent': agents[i] },
    })));
    await until(() => clients[2].socket.io.engine.transport.name === 'websocket', 'an upgrade');
    await clients[2].asks('heartbeat');
    for (const by of admins) {
      const { connections } = await by.gets(200, 'GET', '/connections');
      for (const [i, client] of clients.entries()) {
        const found = connections.find(({ socketId }) => socketId === client.socket.id);
        assert.ok(found, `the client of replica ${i}`);
        const { rooms, connectedAt, ...rest } = found;
        assert.ok(Math.abs(Date.now() - Date.parse(connectedAt)) < 60_000, connectedAt);
        assert.deepEqual(rooms.sort(), [`client:${client.clientId}`, `session:${client.sessionId}`, `user:${client.user}`].sort());
        assert.equal(rest.userId, client.user);
        assert.equal(rest.clientId, client.clientId);
        assert.equal(rest.sessionId, client.sessionId);
        assert.equal(rest.ipAddress, '127.0.0.1');
        assert.equal(rest.transport, transports[i].at(-1));
        assert.equal(rest.userAgent, ['a', 'b', `${'c'.repeat(256)}…`][i]);
      }
    }
  });

  test('behind a proxy that is trusted, with the address that it tells', async (t) => {
    const { servers: [server] } = await replicas(t, 1, { server: { trustedProxies: ['127.0.0.0/8'] } });
    const client = await Client.connect(t, server, { extraHeaders: { 'x-forwarded-for': '198.51.100.7, 203.0.113.9' } });
    const { connections: [found] } = await admin.at(server).gets(200, 'GET', '/connections');
    assert.deepEqual([found.socketId, found.ipAddress], [client.socket.id, '203.0.113.9']);
  });

  /** All of a list, by pages of `limit`. */
  async function pages(by, path, name, limit) {
    const all = [];
    let cursor = '';
    for (let i = 0; i < 50; i += 1) {
      const page = await by.gets(200, 'GET', `${path}${path.includes('?') ? '&' : '?'}limit=${limit}${cursor}`);
      assert.ok(page[name].length <= limit, `${page[name].length} in a page of ${limit}`);
      all.push(...page[name]);
      if (!page.next) return all;
      cursor = `&cursor=${encodeURIComponent(page.next)}`;
    }
    throw new Error(`no end of ${path}`);
  }

  test('by user, by room and by pages', async (t) => {
    const photoId = unique('paged');
    const clients = await Promise.all(range(6).map((i) => watching(t, servers[i % 2])));
    for (const client of clients) await client.asks('subscribe:photo', { photoId });
    const room = `photo:${photoId}`;
    const ids = clients.map(({ socket }) => socket.id).sort();
    for (const by of admins) {
      for (const limit of [1, 4, 6, 1000]) {
        const found = await pages(by, `/connections?room=${encodeURIComponent(room)}`, 'connections', limit);
        assert.deepEqual(found.map(({ socketId }) => socketId).sort(), ids, `limit ${limit}`);
        assert.deepEqual((await pages(by, `/rooms/${encodeURIComponent(room)}`, 'members', limit)).sort(), ids, `limit ${limit}`);
      }
      const { connections } = await by.gets(200, 'GET', `/connections?userId=${clients[1].user}`);
      assert.deepEqual(connections.map(({ socketId }) => socketId), [clients[1].socket.id]);
      assert.equal((await by.gets(200, 'GET', `/rooms/${encodeURIComponent(room)}?limit=1`)).count, 6);
      const rooms = await pages(by, '/rooms', 'rooms', 3);
      assert.equal(new Set(rooms.map((r) => r.room)).size, rooms.length, 'a room came twice');
      assert.deepEqual(rooms.find((r) => r.room === room), { room, count: 6 });
      assert.ok(ids.every((id) => !rooms.some((r) => r.room === id)), 'sockets are no rooms');
    }
    clients[5].close();
    await agreed(async () => (await admin.gets(200, 'GET', `/rooms/${encodeURIComponent(room)}`)).count === 5, 'one to have left');
    assert.deepEqual(await admin.gets(200, 'GET', '/rooms/nobody-is-here'), { room: 'nobody-is-here', count: 0, members: [] });
  });

  for (const from of [0, 1]) {
    test(`replica ${from} acts on a socket of the other one`, async (t) => {
      const by = admins[from];
      const client = await Client.identified(t, servers[1 - from], { reconnection: false });
      const bystander = await Client.identified(t, servers[1 - from]);
      const room = unique('a room / of "ours" é');
      const member = `/rooms/${encodeURIComponent(room)}/members/${client.socket.id}`;
      const count = async () => (await by.gets(200, 'GET', `/rooms/${encodeURIComponent(room)}`)).count;

      for (const _ of range(2)) await by.gets(204, 'PUT', member);
      await agreed(async () => await count() === 1, 'the socket to join');
      const data = { text: 'é\u2028', nested: [null, 1.5] };
      assert.deepEqual(await by.gets(202, 'POST', `/rooms/${encodeURIComponent(room)}/emit`, { event: 'notice', data }), { status: 'accepted' });
      await by.gets(202, 'POST', `/rooms/${encodeURIComponent(room)}/emit`, { event: 'notice', data: null });
      assert.deepEqual(await client.received('notice', 2), [data, null]);

      for (const _ of range(2)) await by.gets(204, 'DELETE', member);
      await agreed(async () => await count() === 0, 'the socket to leave');
      await by.gets(202, 'POST', `/rooms/${encodeURIComponent(room)}/emit`, { event: 'notice', data: 'to nobody' });
      await by.gets(202, 'POST', `/rooms/${encodeURIComponent(`client:${client.clientId}`)}/emit`, { event: 'last', data: 0 });
      await client.received('last', 1);
      assert.equal(client.bodies('notice').length, 2);
      assert.deepEqual(bystander.bodies('notice'), []);

      await by.gets(204, 'DELETE', `/connections/${client.socket.id}`);
      assert.equal(await client.disconnected(), 'io server disconnect');
      await agreed(async () => (await by.gets(200, 'GET', `/connections?userId=${client.user}`)).connections.length === 0, 'it to be gone');
      await bystander.asks('heartbeat');
    });
  }

  test('of a socket that is not there: 404', async () => {
    for (const [method, path] of [['DELETE', '/connections/nobody'], ['PUT', '/rooms/r/members/nobody'], ['DELETE', '/rooms/r/members/nobody']]) {
      await admin.gets(404, method, path);
    }
  });
});

describe('figures', () => {
  test('stats are those of what has happened', async (t) => {
    const before = await admin.gets(200, 'GET', '/stats');
    assert.equal(before.replicas, 2);
    const clients = await pair(t); // photo, client, session, user: 7 rooms of two, as they share the photo, and the second's own photo
    const now = await admin.gets(200, 'GET', '/stats');
    assert.equal(now.websockets.activeConnections - before.websockets.activeConnections, 2);
    assert.equal(now.websockets.totalConnections - before.websockets.totalConnections, 1); // of this replica
    assert.equal(now.rooms.active - before.rooms.active, 8);
    assert.ok(now.websockets.messagesReceived > before.websockets.messagesReceived);

    const events = numbered(clients[0].photoId, 0, 10);
    await admin.gets(202, 'POST', '/events/batch', { events: events.map((e) => ({ event: e })) });
    await both(clients, 10);
    const sum = async () => (await Promise.all(admins.map((by) => by.gets(200, 'GET', '/stats')))).reduce((n, { events: { received } }) => n + received, 0);
    const published = await admin.gets(200, 'GET', '/stats');
    assert.equal(published.events.published - before.events.published, 10);
    assert.ok(published.websockets.messagesSent - now.websockets.messagesSent >= 10);
    assert.ok(published.websockets.averageLatency > 0 && published.websockets.averageLatency < 5000, `${published.websockets.averageLatency} ms`);
    const received = await sum(); // one of the two has read them
    await admins[1].gets(202, 'POST', '/events', numbered(clients[0].photoId, 10, 11)[0]);
    await both(clients, 11);
    assert.equal(await sum() - received, 1);

    clients[0].close();
    await agreed(async () => {
      const { websockets } = await admin.gets(200, 'GET', '/stats');
      return websockets.activeConnections === before.websockets.activeConnections + 1
        && websockets.totalDisconnections === before.websockets.totalDisconnections + 1;
    }, 'the one who left to be counted');
  });

  test('events of a time range, over both replicas', async (t) => {
    const fleet = await replicas(t, 2, { filters: [{ id: 'no-s', type: 'exclude', conditions: [{ field: 'data.stage', operator: 'eq', value: 's' }], action: { type: 'drop' } }] });
    const callers = fleet.servers.map((server) => admin.at(server));
    const client = await watching(t, fleet.servers[0]);
    for (const [i, by] of callers.entries()) {
      await by.gets(202, 'POST', '/events/batch', { events: numbered(client.photoId, 5 * i, 5 * i + 5).map((e) => ({ event: e })) });
    }
    const filtered = numbered(client.photoId, 0, 1)[0];
    filtered.data.stage = 's';
    await add(fleet.redis, filtered, numbered(client.photoId, 10, 11)[0], event('photo.uploaded', [])); // the last is none
    await sees(client, 11);
    const type = 'photo.processing.stage.completed';
    const want = { published: 10, received: 11, routed: 11, dropped: 1, errors: 0 };
    const invalid = { published: 0, received: 0, routed: 0, dropped: 0, errors: 1 };
    let got;
    await until(async () => { // each replica tells what it has counted every 2 s
      got = await callers[1].gets(200, 'GET', '/metrics/events');
      return got.received >= want.received && got.errors >= 1 && got.published >= want.published;
    }, () => `all to be told, got ${JSON.stringify(got)}`);
    const pick = (counts) => Object.fromEntries(Object.keys(want).map((name) => [name, counts?.[name]]));
    assert.deepEqual(pick(got.byChannel[CHANNEL]), want);
    assert.deepEqual(pick(got.byType[type]), want);
    assert.deepEqual(Object.keys(got.byType).sort(), ['other', type]);
    assert.deepEqual(pick(got.byChannel['photo:upload']), invalid);
    assert.deepEqual([got.published, got.received, got.routed, got.dropped, got.errors], [10, 11, 11, 1, 1]);

    const past = (ms) => new Date(Date.now() - ms).toISOString();
    const old = await callers[0].gets(200, 'GET', `/metrics/events?from=${past(7_200_000)}&to=${past(3_600_000)}`);
    assert.deepEqual([old.published, old.received, old.byChannel, old.byType], [0, 0, {}, {}]);
    for (const query of ['from=yesterday', `from=${past(-60_000)}&to=${past(0)}`, `from=${past(25 * 3_600_000)}`, 'since=now', 'from=']) {
      await admin.gets(400, 'GET', `/metrics/events?${query}`);
    }
  });

  test('the analysis', async () => {
    for (const by of admins) {
      const { status, body } = await by.ask('GET', '/analysis');
      if (status === 200) assert.ok(body.connectionPerformance.activeConnections >= 0);
      else assert.equal(status, 501);
    }
  });

  test('the log level of one replica', async (t) => {
    cleanup(t, () => admin.gets(200, 'PUT', '/log-level', { level: 'info' }));
    assert.deepEqual(await admin.gets(200, 'GET', '/log-level'), { level: 'info' });
    assert.deepEqual(await admin.gets(200, 'PUT', '/log-level', { level: 'debug' }), { level: 'debug' });
    assert.deepEqual(await admin.gets(200, 'GET', '/log-level'), { level: 'debug' });
    assert.deepEqual(await admins[1].gets(200, 'GET', '/log-level'), { level: 'info' });
    for (const level of ['loud', '', 'DEBUG', 1, null]) await admin.gets(400, 'PUT', '/log-level', { level });
    assert.deepEqual(await admin.gets(200, 'GET', '/log-level'), { level: 'debug' });
  });

  test('profiles', async () => {
    assert.match((await admin.ask('GET', '//debug/pprof/')).text, /goroutine/);
    assert.match((await admin.ask('GET', '//debug/pprof/goroutine?debug=1')).text, /^goroutine profile: total \d+/);
    for (const path of ['profile?seconds=1', 'trace?seconds=1', 'symbol', 'heap']) {
      const { status, text } = await admin.ask('GET', `//debug/pprof/${path}`);
      assert.equal(status, 200, path);
      assert.ok(text.length > 0, path);
    }
    await admin.gets(404, 'GET', '//debug/pprof/cmdline');
    await admin.gets(404, 'GET', '//debug/pprof/none');
    for (const seconds of ['61', '0', '0.5', '-1', 'x', 'NaN', 'Inf', '1e9', '']) await admin.gets(400, 'GET', `//debug/pprof/profile?seconds=${seconds}`);
  });

  test('probes and metrics', async () => {
    const anybody = admin.with(undefined);
    for (const path of ['/health', '/health/live', '/health/ready', '/health/startup', '/metrics', '/health?strict=true']) await anybody.gets(200, 'GET', `/${path}`);
  });
});

/** Both replicas answer a GET alike, and so that it fits. */
const everywhere = (path, fits, what) => agreed(async () => {
  const answers = await Promise.all(admins.map((by) => by.ask('GET', path)));
  return answers.every(fits);
}, what);

describe('declarations', () => {
  const spec = { type: 'exclude', conditions: [{ field: 'data.stage', operator: 'eq', value: 'secret' }], action: { type: 'drop' } };

  test('filters', async (t) => {
    cleanup(t, () => admin.gets(204, 'DELETE', '/filters'));
    const id = unique('f');
    const created = await admin.gets(201, 'PUT', `/filters/${id}`, spec);
    assert.equal(created.id, id);
    assert.equal(created.source, 'api');
    assert.deepEqual(created.spec.conditions, spec.conditions);
    await everywhere(`/filters/${id}`, ({ status }) => status === 200, 'the filter at both');
    await admins[1].gets(200, 'PUT', `/filters/${id}`, { ...spec, id, type: 'include' });
    await everywhere(`/filters/${id}`, ({ body }) => body.spec.type === 'include', 'the changed filter at both');

    const all = ['b', 'a', 'c'].map((name) => ({ ...spec, id: name }));
    const { filters } = await admin.gets(200, 'PUT', '/filters', { filters: all });
    assert.deepEqual(filters.map((f) => f.id), ['b', 'a', 'c']);
    await everywhere('/filters', ({ body }) => body.filters.map((f) => f.id).join('') === 'bac', 'all filters at both, in their order');
    await admin.gets(404, 'GET', `/filters/${id}`);
    await admin.gets(404, 'DELETE', `/filters/${id}`);
    await admin.gets(204, 'DELETE', '/filters/a');
    await everywhere('/filters', ({ body }) => body.filters.map((f) => f.id).join('') === 'bc', 'one to be gone at both');

    const bad = {
      'an operator that is none': { ...spec, conditions: [{ field: 'data.stage', operator: 'like', value: 'x' }] },
      'a broken pattern': { ...spec, conditions: [{ field: 'data.stage', operator: 'regex', value: '(' }] },
      'a broken expression': { ...spec, expr: 'data.' },
      'an action that is none': { ...spec, action: { type: 'explode' } },
      'no action': { type: 'exclude' },
      'an unknown member': { ...spec, colour: 'red' },
      'a channel that is none': { ...spec, channels: ['nowhere'] },
      'conditions of another type': { ...spec, conditions: 'all' },
    };
    for (const [what, body] of Object.entries(bad)) {
      const { errors, detail } = await admin.gets(422, 'PUT', '/filters/bad', body);
      assert.ok(errors.length > 0 && detail, what);
      await admin.gets(422, 'PUT', '/filters', { filters: [{ ...body, id: 'bad' }] });
    }
    await admin.gets(422, 'PUT', '/filters', { filters: [{ ...spec, id: 'x' }, { ...spec, id: 'x' }] });
    await admin.gets(400, 'PUT', '/filters/one', { ...spec, id: 'another' });
    for (const [status, body] of [[400, { filters: {} }], [400, {}], [400, []], [422, { filters: [{ ...spec }] }], [422, { filters: ['x'] }]]) {
      await admin.gets(status, 'PUT', '/filters', body);
    }
    for (const bad of ['a%20b', '-a', 'x'.repeat(129), '%00']) await admin.gets(400, 'PUT', `/filters/${bad}`, spec);
    assert.deepEqual((await admin.gets(200, 'GET', '/filters')).filters.map((f) => f.id), ['b', 'c']);
  });

  test('rules', async (t) => {
    cleanup(t, () => admin.gets(204, 'DELETE', '/rules'));
    const was = await admin.gets(200, 'GET', '/rules');
    assert.equal(was.source, 'configuration');
    assert.deepEqual(Object.keys(was.rules).sort(), ['photo:completion', CHANNEL, 'photo:upload']);
    const rules = { ...was.rules, [CHANNEL]: [{ type: 'room', selector: 'data.photoId', targetPrefix: 'photo:', eventName: 'renamed' }] };
    const now = await admin.gets(200, 'PUT', '/rules', { rules });
    assert.deepEqual([now.source, now.rules[CHANNEL]], ['api', rules[CHANNEL]]);
    const client = await watching(t, servers[1]);
    await everywhere('/rules', ({ body }) => body.source === 'api', 'the rules at both');
    await agreed(async () => {
      await admins[1].gets(202, 'POST', '/events', numbered(client.photoId, 0, 1)[0]);
      return client.bodies('renamed').length > 0;
    }, 'an event by the new name');
    const bad = [
      [400, { rules: [] }], [400, {}], [400, { rules }.rules],
      [422, { rules: { [CHANNEL]: [{ type: 'teleport' }] } }],
      [422, { rules: { [CHANNEL]: {} } }],
      [422, { rules: { [CHANNEL]: [{ type: 'room', selector: 'data.photoId', unknown: 1 }] } }],
      [422, { rules: { ...rules, 'photo:new': [{ type: 'room', selector: 'data.photoId' }] } }],
    ];
    for (const [status, body] of bad) await admin.gets(status, 'PUT', '/rules', body);
    assert.deepEqual((await admin.gets(200, 'GET', '/rules')).rules[CHANNEL], rules[CHANNEL]);
    await admins[1].gets(204, 'DELETE', '/rules');
    await everywhere('/rules', ({ body }) => body.source === 'configuration', 'the rules of the configuration at both');
    assert.deepEqual(await admin.gets(200, 'GET', '/rules'), was);
  });

  test('subscriptions', async (t) => {
    const hook = await Receiver.start(t);
    const secret = 'a secret of sixteen bytes';
    const body = { channel: CHANNEL, webhook: { url: hook.url, secret, headers: { 'x-key': 'hidden value' } }, filter: { eventTypes: ['photo.processing.stage.completed'] } };
    const created = await admin.ask('POST', '/subscriptions', body);
    assert.equal(created.status, 201);
    const { id } = created.body;
    cleanup(t, () => admin.ask('DELETE', `/subscriptions/${id}`));
    assert.equal(created.headers.location, `/api/v1/subscriptions/${id}`);
    assert.ok(!created.text.includes(secret) && !created.text.includes('hidden value'), created.text);
    await everywhere(`/subscriptions/${id}`, ({ status }) => status === 200, 'the subscription at both');
    for (const by of admins) {
      for (const path of ['/subscriptions', `/subscriptions/${id}`]) {
        const { text } = await by.ask('GET', path);
        assert.ok(text.includes(id) && !text.includes(secret) && !text.includes('hidden value'), text);
      }
    }
    await admin.gets(409, 'POST', '/subscriptions', { ...body, id });
    const [e] = numbered('p', 0, 1);
    await admins[1].gets(202, 'POST', '/events', e);
    await hook.took([e]);
    await agreed(async () => { // the leader of the channel counts
      const [one, other] = await Promise.all(admins.map((by) => by.gets(200, 'GET', `/subscriptions/${id}`)));
      return one.messageCount + other.messageCount === 1 && one.pending === 0 && one.lag === 0;
    }, 'the delivery to be counted');
    const { subscriptions } = await admin.gets(200, 'GET', '/stats');
    assert.equal(subscriptions.totalSubscriptions, 1);
    assert.deepEqual(subscriptions.channelCounts, { [CHANNEL]: 1 });

    await admins[1].gets(200, 'PUT', `/subscriptions/${id}`, { ...body, maxErrors: 5 });
    await everywhere(`/subscriptions/${id}`, (a) => a.body.spec.maxErrors === 5, 'the changed subscription at both');
    const bad = {
      'no channel': { webhook: body.webhook },
      'a channel that is none': { ...body, channel: 'nowhere' },
      'no address': { channel: CHANNEL, webhook: {} },
      'an address that is none': { ...body, webhook: { url: 'gopher://x' } },
      'a private address': { ...body, webhook: { url: 'http://169.254.169.254/latest' } },
      'an unknown member': { ...body, colour: 'red' },
      'a number for a text': { ...body, channel: 5 },
      'a broken expression': { ...body, filter: { expr: '(' } },
      'too much at once': { ...body, concurrency: 65 },
      'a negative delay': { ...body, retryDelay: -1 },
    };
    for (const [what, spec2] of Object.entries(bad)) {
      const { errors } = await admin.gets(422, 'POST', '/subscriptions', spec2);
      assert.ok(errors.length > 0, what);
      await admin.gets(422, 'PUT', `/subscriptions/${id}`, spec2);
    }
    await admin.gets(400, 'PUT', `/subscriptions/${id}`, { ...body, id: 'another' });
    await admin.gets(400, 'POST', '/subscriptions', { ...body, id: 'a b' });
    await admin.gets(400, 'POST', '/subscriptions', { ...body, id: 5 });
    assert.equal((await admin.gets(200, 'GET', `/subscriptions/${id}`)).spec.maxErrors, 5);
    assert.equal((await admin.gets(200, 'GET', '/subscriptions')).subscriptions.length, 1);

    await admins[1].gets(204, 'DELETE', `/subscriptions/${id}`);
    await everywhere(`/subscriptions/${id}`, ({ status }) => status === 404, 'the subscription to be gone at both');
    await admin.gets(404, 'DELETE', `/subscriptions/${id}`);
    await admin.gets(404, 'GET', '/subscriptions/none');
    await admin.gets(201, 'PUT', `/subscriptions/${id}`, body);
  });

  test('what the configuration declares is shown, and changed there', async (t) => {
    const declared = {
      filters: [{ ...spec, id: 'fixed' }],
      subscriptions: [{ id: 'fixed', channel: CHANNEL, webhook: { url: 'https://hooks.example/x' } }],
    };
    const { servers: [server] } = await replicas(t, 1, declared);
    const by = admin.at(server);
    assert.equal((await by.gets(200, 'GET', '/filters/fixed')).source, 'configuration');
    assert.equal((await by.gets(200, 'GET', '/subscriptions/fixed')).source, 'configuration');
    for (const path of ['/filters/fixed', '/subscriptions/fixed']) await by.gets(409, 'DELETE', path);
    await by.gets(409, 'PUT', '/filters/fixed', spec);
    await by.gets(409, 'PUT', '/subscriptions/fixed', { channel: CHANNEL, webhook: { url: 'https://hooks.example/y' } });
    await by.gets(409, 'POST', '/subscriptions', { id: 'fixed', channel: CHANNEL, webhook: { url: 'https://hooks.example/y' } });
    await by.gets(204, 'DELETE', '/filters');
    assert.equal((await by.gets(200, 'GET', '/filters')).filters.length, 1);
  });

  test('dead letters', async (t) => {
    const client = await watching(t, servers[1]);
    const invalid = range(3).map(() => event('photo.deleted', { userId: unique('dead') })); // no photoId
    await add(redis, ...invalid);
    await redis.client.publish('photo:upload', 'no JSON');
    const channel = `channel=${encodeURIComponent('photo:upload')}`;
    await agreed(async () => (await admin.gets(200, 'GET', `/dead-letters?${channel}`)).deadLetters.length === 4, 'four dead letters');
    const { deadLetters } = await admins[1].gets(200, 'GET', `/dead-letters?${channel}&reason=validation`);
    assert.ok(deadLetters.every((l) => l.event === undefined && l.reason === 'validation' && l.subscription === undefined));
    assert.deepEqual(deadLetters.map((l) => l.eventId).filter(Boolean).sort(), invalid.map((e) => e.id).sort());
    assert.deepEqual((await admin.gets(200, 'GET', '/dead-letters?channel=other')).deadLetters, []);
    assert.deepEqual((await admin.gets(200, 'GET', '/dead-letters?subscription=other')).deadLetters, []);
    const first = await admin.gets(200, 'GET', `/dead-letters?${channel}&limit=3`);
    const rest = await admins[1].gets(200, 'GET', `/dead-letters?${channel}&limit=3&cursor=${encodeURIComponent(first.next)}`);
    assert.deepEqual([...first.deadLetters, ...rest.deadLetters].map((l) => l.id), deadLetters.map((l) => l.id));
    assert.equal(rest.next, undefined);
    const letter = await admins[1].gets(200, 'GET', `/dead-letters/${deadLetters.find((l) => l.eventId).id}`);
    assert.deepEqual(letter.event, invalid.find((e) => e.id === letter.eventId));
    const stray = await Promise.all(deadLetters.map((l) => admin.gets(200, 'GET', `/dead-letters/${l.id}`)));
    assert.ok(stray.some((l) => l.event === 'no JSON'));
    assert.equal((await admin.gets(200, 'GET', '/stats')).deadLetters, 4);

    for (const [status, method, path, body] of [
      [404, 'GET', '/dead-letters/1-1'], [404, 'DELETE', '/dead-letters/1-1'], [404, 'POST', '/dead-letters/1-1/replay'],
      [404, 'GET', '/dead-letters/none'], [404, 'DELETE', '/dead-letters/none'], [404, 'POST', '/dead-letters/none/replay', {}],
      [422, 'GET', '/dead-letters?cursor=none'],
      [400, 'DELETE', '/dead-letters'], [400, 'DELETE', `/dead-letters?all=true&${channel}`], [400, 'DELETE', '/dead-letters?all=yes'],
      [400, 'POST', '/dead-letters/replay', {}], [400, 'POST', '/dead-letters/replay'], [400, 'POST', '/dead-letters/replay', { all: true, channel: 'x' }],
      [400, 'POST', '/dead-letters/replay', { all: 1 }], [400, 'POST', '/dead-letters/replay', { channel: '' }],
      [400, 'POST', `/dead-letters/${letter.id}/replay`, { browsers: 'yes' }], [400, 'POST', `/dead-letters/${letter.id}/replay`, { all: true }],
    ]) await admin.gets(status, method, path, body);
    assert.equal((await admin.gets(200, 'GET', `/dead-letters?${channel}`)).deadLetters.length, 4);

    // Still invalid, so it comes back.
    assert.deepEqual(await admins[1].gets(200, 'POST', `/dead-letters/${letter.id}/replay`), { replayed: 1, failed: 0 });
    await agreed(async () => {
      const { deadLetters: now } = await admin.gets(200, 'GET', `/dead-letters?${channel}`);
      return now.length === 4 && !now.some((l) => l.id === letter.id);
    }, 'the letter to be back under another id');
    const replayed = await admin.gets(200, 'POST', '/dead-letters/replay', { channel: 'photo:upload', browsers: true });
    assert.equal(replayed.replayed + replayed.failed, 4);
    await agreed(async () => (await admin.gets(200, 'GET', `/dead-letters?${channel}`)).deadLetters.length === 4, 'all to be back');
    const [victim] = (await admin.gets(200, 'GET', `/dead-letters?${channel}`)).deadLetters;
    await admins[1].gets(204, 'DELETE', `/dead-letters/${victim.id}`);
    await admin.gets(404, 'DELETE', `/dead-letters/${victim.id}`);
    assert.deepEqual(await admin.gets(200, 'DELETE', `/dead-letters?${channel}`), { removed: 3 });
    assert.deepEqual(await admin.gets(200, 'DELETE', '/dead-letters?all=true'), { removed: 0 });
    assert.deepEqual(client.bodies('upload.event'), []);
  });

  test('revocations', async (t) => {
    const user = unique('revoked');
    const mine = (claims) => token({ userId: user, roles: ['admin'], ...claims });
    const jti = randomUUID();
    const callers = admins.map((by) => by.with(mine({ jti })));
    for (const by of callers) await by.gets(200, 'GET', '/log-level');
    const client = await Client.connect(t, servers[1], { auth: { token: mine({ jti }) }, reconnection: false });
    const one = await admin.gets(201, 'POST', '/revocations', { tokenId: jti, reason: 'stolen' });
    assert.equal(one.id, `token:${jti}`);
    await client.disconnected();
    for (const by of callers) {
      await agreed(async () => {
        const { status, headers } = await by.ask('GET', '/log-level');
        return status === 401 && /invalid_token/.test(headers['www-authenticate']);
      }, 'the token to be refused');
      await by.with(mine({ jti: randomUUID() })).gets(200, 'GET', '/log-level');
    }
    const { revocations } = await admins[1].gets(200, 'GET', '/revocations');
    assert.deepEqual(revocations, [one]);
    await admins[1].gets(204, 'DELETE', `/revocations/${encodeURIComponent(one.id)}`);
    await admin.gets(404, 'DELETE', `/revocations/${encodeURIComponent(one.id)}`);
    for (const by of callers) await agreed(async () => (await by.ask('GET', '/log-level')).status === 200, 'the token to be good again');

    const all = await admin.gets(201, 'POST', '/revocations', { userId: user });
    assert.equal(all.id, `user:${user}`);
    for (const by of callers) await agreed(async () => (await by.ask('GET', '/log-level')).status === 401, 'all tokens of the user to be refused');
    await admin.gets(204, 'DELETE', `/revocations/${encodeURIComponent(all.id)}`);

    const bad = [
      [400, {}], [400, { userId: 5 }], [400, { userId: null }], [400, { userId: 'a', colour: 'red' }], [400, []],
      [400, { userId: 'a', before: 'yesterday' }], [400, '{"userId":"a","userId":"b"}'],
      [422, { userId: 'a', tokenId: 'b' }], [422, { userId: '' }], [422, { userId: 'x'.repeat(257) }],
      [422, { userId: 'a', expires: '2000-01-01T00:00:00Z' }], [422, { userId: 'a', expires: '2999-01-01T00:00:00Z' }],
      [422, { tokenId: 'a', before: '2026-01-01T00:00:00Z' }],
    ];
    for (const [status, body] of bad) {
      const answer = await admin.ask('POST', '/revocations', body);
      assert.ok(answer.status === status || (status === 400 && answer.status === 422), `${JSON.stringify(body)}: ${answer.status}`);
    }
    assert.deepEqual((await admin.gets(200, 'GET', '/revocations')).revocations, []);
  });
});

/** A path of the document with something in the place of its parameters. */
const filled = (path) => `/${path.replace('{profile}', 'heap').replace(/\{\w+\}/g, 'some-1')}`;

/** All that the API declares or keeps, to see that nothing has changed. */
const state = () => Promise.all(['/filters', '/rules', '/subscriptions', '/dead-letters', '/revocations', '/log-level', '/connections', '/rooms']
  .map((path) => admin.gets(200, 'GET', path)));

/** The operations that want a token. */
const guarded = () => document.operations.filter(({ op }) => !op.security || op.security.length > 0);

describe('who may', () => {
  test('without a good token nothing is answered', async () => {
    const bearers = {
      none: undefined,
      'of another secret': token({ userId: 'u', roles: ['admin'] }, { secret: 'another secret of thirty-two bytes and more' }),
      expired: token({ userId: 'u', roles: ['admin'], exp: Math.floor(Date.now() / 1000) - 3600 }),
      'no token at all': 'x',
    };
    for (const { method, path } of guarded()) {
      for (const [what, bearer] of Object.entries(bearers)) {
        const { status } = await admin.with(bearer).ask(method, filled(path));
        assert.equal(status, 401, `${method} ${path}, ${what}`);
      }
    }
    const { status, body } = await admin.with(bearers.expired).ask('GET', '/stats');
    assert.equal(status, 401);
    assert.match(body.detail, /expired/);
    for (const authorization of [`Basic ${admin.bearer}`, admin.bearer, 'Bearer', '']) {
      assert.equal((await admin.with(undefined).ask('GET', '/stats', undefined, { authorization })).status, 401, authorization);
    }
    assert.equal((await admin.with(undefined).ask('GET', `/stats?token=${admin.bearer}`)).status, 401);
  });

  test('what is for admins is not for anybody else', async () => {
    const was = await state();
    const others = [
      token({ userId: 'user', roles: ['user', 'administrator', 'ADMIN'], permissions: ['event_bus:publish:*', 'event_bus:subscribe:*', 'photo:read:*', 'user:read:*'] }),
      token({ userId: 'nobody' }),
    ];
    for (const { id, method, path } of guarded()) {
      if (id.startsWith('publish') || path.includes('/subscriptions')) continue; // the channel decides
      for (const bearer of others) await admin.with(bearer).gets(403, method, filled(path));
    }
    await admin.with(others[1]).gets(403, 'POST', '/events', numbered('p', 0, 1)[0]);
    assert.deepEqual(await state(), was);
  });

  test('who may subscribe to a channel declares webhooks for it, and for no other', async (t) => {
    const bearer = token({ userId: unique('subscriber'), permissions: [`event_bus:subscribe:${CHANNEL}`] });
    const [mine, elsewhere] = admins.map((by) => by.with(bearer));
    const spec = (channel) => ({ channel, webhook: { url: 'https://hooks.example/' } });
    const { id } = await mine.gets(201, 'POST', '/subscriptions', spec(CHANNEL));
    cleanup(t, () => admin.ask('DELETE', `/subscriptions/${id}`));
    const other = (await admin.gets(201, 'POST', '/subscriptions', spec('photo:upload'))).id;
    cleanup(t, () => admin.ask('DELETE', `/subscriptions/${other}`));
    await agreed(async () => (await admins[1].gets(200, 'GET', '/subscriptions')).subscriptions.length === 2, 'both at the other replica');
    const { subscriptions } = await elsewhere.gets(200, 'GET', '/subscriptions');
    assert.deepEqual(subscriptions.map((s) => s.id), [id]);
    await mine.gets(403, 'POST', '/subscriptions', spec('photo:upload'));
    for (const [method, body] of [['GET'], ['PUT', spec(CHANNEL)], ['PUT', spec('photo:upload')], ['DELETE']]) {
      const { status } = await elsewhere.ask(method, `/subscriptions/${other}`, body);
      assert.ok(status === 403 || status === 404, `${method}: ${status}`);
    }
    await admin.gets(200, 'GET', `/subscriptions/${other}`);
    await elsewhere.gets(204, 'DELETE', `/subscriptions/${id}`);
  });
});

describe('what is asked wrongly is answered once, clearly, and changes nothing', () => {
  const spec = { type: 'exclude', action: { type: 'drop' } };

  /** A body that each operation would take. */
  const bodies = {
    publishEvent: () => numbered('p', 0, 1)[0],
    publishEvents: () => ({ events: [{ event: numbered('p', 0, 1)[0] }] }),
    setLogLevel: () => ({ level: 'error' }),
    broadcastToRoom: () => ({ event: 'e', data: 1 }),
    replaceFilters: () => ({ filters: [{ ...spec, id: 'x' }] }),
    putFilter: () => spec,
    replaceRules: () => ({ rules: {} }),
    createSubscription: () => ({ channel: CHANNEL, webhook: { url: 'https://hooks.example/' } }),
    putSubscription: () => ({ channel: CHANNEL, webhook: { url: 'https://hooks.example/' } }),
    replayDeadLetters: () => ({ all: true }),
    replayDeadLetter: () => ({ browsers: true }),
    addRevocation: () => ({ userId: 'u' }),
  };

  test('bodies', async () => {
    const was = await state();
    for (const { id, method, path, op } of guarded().filter(({ op: { requestBody } }) => requestBody)) {
      const good = bodies[id];
      assert.ok(good, `a body for ${id}`);
      const text = JSON.stringify(good());
      const refuse = async (wanted, what, body, headers) => {
        const { status, body: problem } = await admin.ask(method, filled(path), body, headers);
        assert.ok([wanted].flat().includes(status), `${id}, ${what}: ${status} ${JSON.stringify(problem)}`);
      };
      if (op.requestBody.required) await refuse(400, 'none', undefined);
      await refuse(400, 'cut off', text.slice(0, -1));
      await refuse(400, 'with more behind', `${text}{}`);
      await refuse(400, 'not JSON', 'level=error');
      await refuse(400, 'not UTF-8', Buffer.concat([Buffer.from('{"a'), Buffer.from([0xff]), Buffer.from('":1}')]));
      for (const other of ['null', '[]', '"text"', '5', 'true']) await refuse([400, 422], other, other);
      if (!id.startsWith('publishEvent') || id === 'publishEvents') await refuse([400, 422], 'an unknown member', JSON.stringify({ ...good(), colour: 'red' }));
      if (id !== 'publishEvent') await refuse([400, 422], 'a member twice', text.replace(/^\{("\w+")/, '{$1:null,$1'));
      await refuse([400, 413, 422], 'deep', '[{"a":'.repeat(20_000));
      for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/json; charset=latin1', 'application/jsonp', '']) {
        await refuse(415, `as ${type}`, text, { 'content-type': type });
      }
      await refuse(415, 'compressed', text, { 'content-encoding': 'gzip' });
      await refuse(413, 'too large', `${text}${' '.repeat(5 << 20)}`);
      const { status } = await admin.ask(method, `${filled(path)}?colour=red`, text);
      assert.equal(status, 400, `${id}, an unknown parameter`);
    }
    assert.deepEqual(await state(), was);
  });

  test('parameters', async () => {
    const was = await state();
    const paged = ['/connections', '/rooms', '/rooms/r', '/dead-letters'];
    for (const path of paged) {
      for (const query of ['limit=0', 'limit=-1', 'limit=1001', 'limit=x', 'limit=', 'limit=1.5', 'limit=5&limit=6', 'cursor=', `cursor=${'c'.repeat(600)}`, 'cursor=%00', '%zz=1', 'limit=%']) {
        const { errors } = await admin.gets(400, 'GET', `${path}?${query}`);
        assert.equal(errors.length, 1, `${path}?${query}`);
      }
      const { errors } = await admin.gets(400, 'GET', `${path}?limit=0&cursor=&colour=red&size=`);
      assert.deepEqual(errors.map(({ field }) => field).sort(), ['colour', 'cursor', 'limit', 'size']);
    }
    for (const { method, path, op } of guarded().filter(({ path: p, op: o }) => !o.requestBody && !p.startsWith('/debug'))) {
      await admin.gets(400, method, `${filled(path)}?colour=red`);
    }
    for (const query of ['durable=yes', 'durable=', 'channel=', `channel=${'c'.repeat(600)}`]) await admin.gets(400, 'POST', `/events?${query}`, numbered('p', 0, 1)[0]);
    await admin.ask('POST', '/events?channel=nowhere', numbered('p', 0, 1)[0]).then(({ status }) => assert.ok(status >= 400 && status < 500, `${status}`));
    for (const path of ['/filters', '/subscriptions', '/dead-letters']) {
      for (const id of ['-a', 'a%2Fb', 'x'.repeat(129), 'a%0ab']) await admin.gets(400, 'DELETE', `${path}/${id}`);
    }
    for (const room of ['%00', 'x'.repeat(513), '%ff']) await admin.gets(400, 'GET', `/rooms/${room}`);
    assert.deepEqual(await state(), was);
  });

  test('broadcasts', async () => {
    const bad = [{ event: 'e' }, { data: 1 }, { event: '', data: 1 }, { event: 5, data: 1 }, { event: 'x'.repeat(129), data: 1 }, { event: 'disconnect', data: 1 }, { event: 'connect', data: 1 }];
    for (const body of bad) await admin.gets(400, 'POST', '/rooms/r/emit', body);
  });

  test('events', async () => {
    const good = () => numbered('p', 0, 1)[0];
    const bad = [
      { type: 5, data: {} }, { type: '', data: {} }, { data: {} }, { ...good(), data: null }, { ...good(), data: [] }, { ...good(), id: 5 }, { ...good(), id: '' },
      { ...good(), id: 'x'.repeat(257) }, { ...good(), metadata: [] }, { ...good(), metadata: { clientId: 5 } }, { ...good(), timestamp: 'now' }, { ...good(), timestamp: 5 },
    ];
    for (const body of bad) {
      const { status, text } = await admin.ask('POST', '/events', body);
      assert.ok(status === 400 || status === 422, `${JSON.stringify(body)}: ${status} ${text}`);
    }
    for (const events of [[], range(1001).map(() => ({ event: good() }))]) await admin.gets(400, 'POST', '/events/batch', { events });
    const { results } = await admin.gets(207, 'POST', '/events/batch', { events: bad.map((event) => ({ event })) });
    assert.ok(results.every(({ status, error }) => status === 'refused' && error.status < 500), JSON.stringify(results));
    for (const entry of [{}, { event: good(), colour: 'red' }, { event: good(), channel: 5 }, 'x']) await admin.gets(400, 'POST', '/events/batch', { events: [entry] });
    await admin.gets(207, 'POST', '/events/batch', { events: [{ event: good(), channel: '' }] });
    const large = { ...good(), data: { photoId: 'x'.repeat(1 << 20) } };
    await admin.gets(413, 'POST', '/events', large);
    const { results: [one, other] } = await admin.gets(207, 'POST', '/events/batch', { events: [{ event: large }, { event: good() }] });
    assert.deepEqual([one.error.status, other.status], [413, 'accepted']);
  });

  test('methods and addresses', async () => {
    const known = new Set(document.operations.map(({ method, path }) => `${method} ${path}`));
    for (const path of Object.keys(document.text.paths).filter((p) => !p.startsWith('/debug'))) {
      for (const method of ['GET', 'HEAD', 'PUT', 'POST', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE']) {
        const has = known.has(`${method === 'HEAD' ? 'GET' : method} ${path}`);
        if (has && method !== 'HEAD') continue;
        const { status, headers, text } = await admin.ask(method, filled(path));
        if (method === 'HEAD') {
          assert.equal(text, '', `HEAD ${path}`);
          assert.ok(has ? [200, 404, 501].includes(status) : status === 405, `HEAD ${path}: ${status}`);
          continue;
        }
        assert.equal(status, 405, `${method} ${path}`);
        for (const allowed of headers.allow.split(', ')) assert.ok(known.has(`${allowed === 'HEAD' ? 'GET' : allowed} ${path}`), `${path} allows ${headers.allow}`);
      }
    }
    for (const path of ['//', '//api', '//api/v1', '//api/v1/', '/none', '/filters/a/b', '//api/v2/stats', '//metrics/', '//debug/vars', '//favicon.ico']) {
      const { status } = await admin.ask('GET', path);
      assert.ok(status === 404 || status === 400, `${path}: ${status}`);
    }
    const { headers } = await admin.ask('GET', '/stats', undefined, { 'x-request-id': 'mine-1', origin: 'https://evil.example' });
    assert.equal(headers['x-request-id'], 'mine-1');
    assert.equal(headers['cache-control'], 'no-store');
    assert.equal(headers['x-content-type-options'], 'nosniff');
    assert.equal(headers['access-control-allow-origin'], undefined);
    assert.notEqual((await admin.ask('GET', '/stats', undefined, { 'x-request-id': 'not fit; x' })).headers['x-request-id'], 'not fit; x');
  });
});

test('limits: of events by user over both replicas, and of requests without a good token', async (t) => {
  const { servers: two } = await replicas(t, 2, {}, { RATE_LIMIT_PUBLISH: '10', RATE_LIMIT_PUBLISH_WINDOW: '10m' });
  const bearer = token({ userId: unique('publisher'), permissions: ['event_bus:publish:*'] });
  const callers = two.map((server) => admin.at(server).with(bearer));
  const post = (i) => callers[i % 2].ask('POST', '/events', numbered('p', 0, 1)[0]);
  for (const i of range(4)) assert.equal((await post(i)).status, 202, `${i}`);
  const batch = (n) => ({ events: numbered('p', 0, n).map((e) => ({ event: e })) });
  await callers[0].gets(202, 'POST', '/events/batch', batch(4));
  const late = await callers[1].ask('POST', '/events/batch', batch(6));
  assert.equal(late.status, 429);
  const wait = Number(late.headers['retry-after']);
  assert.ok(wait >= 1 && wait <= 600, `${wait} s`);
  await until(async () => (await post(0)).status === 429, 'the limit');
  assert.equal((await post(1)).status, 429);
  await admin.at(two[0]).gets(202, 'POST', '/events', numbered('p', 0, 1)[0]); // another user

  const statuses = [];
  for (const i of range(40)) statuses.push((await admin.at(two[0]).with(i % 2 ? undefined : 'guess').ask('GET', '/stats')).status);
  assert.deepEqual([...new Set(statuses)], [401, 429]);
  const first = statuses.indexOf(429); // 30 a minute, so one more every two seconds
  assert.ok(first >= 30 && first < 38, `${first} were answered`);
  await admin.at(two[0]).gets(200, 'GET', '/stats'); // who has a good one, may go on
});

describe('health', () => {
  test('the four checks, with figures', async (t) => {
    const client = await Client.connect(t, servers[0]);
    const health = await healthOf(servers[0]);
    assert.deepEqual([health.status, health.message], ['healthy', '4/4 checks passing']);
    assert.deepEqual(health.checks.map(({ name }) => name), ['Redis Connection', 'WebSocket Server', 'Subscription Health', 'Memory Usage']);
    const [connection, sockets, subscriptions, memory] = health.checks.map(({ details }) => details);
    assert.ok(connection.latency > 0 && connection.latency < 1000, `${connection.latency} ms`);
    assert.ok(Number.isInteger(sockets.activeConnections));
    assert.equal(subscriptions.errorRate, 0);
    assert.ok(memory.usedMB > 1 && memory.usedMB < memory.totalMB && memory.utilization < 0.9, JSON.stringify(memory));
    assert.equal(client.socket.connected, true);
  });

  test('without Redis: degraded, ready and alive; with it again healthy', async () => {
    await outage; // under way since the beginning: it takes two rounds of a check that is made every 30 s
  });
});

test('all that the document describes was called, and worked', () => {
  const worked = (id) => [...(document.called.get(id) ?? [])].some((status) => status < 300);
  const missing = document.operations.map(({ id }) => id).filter((id) => !worked(id));
  assert.deepEqual(missing, []);
});
