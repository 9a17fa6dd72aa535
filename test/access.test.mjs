// Who may do what, and how often, on all replicas alike: owners, revocations, expiry, limits, and the audit that tells of it.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, before, describe, test } from 'node:test';
import { Api, ConfigFile, replicas } from './lib/api.mjs';
import { until } from './lib/await.mjs';
import { cleanup } from './lib/cleanup.mjs';
import { Client, TRANSPORTS } from './lib/client.mjs';
import { add, event, numbered, numbers, publish, range } from './lib/events.mjs';
import { RedisServer } from './lib/redis.mjs';
import { startAlone, startServer } from './lib/server.mjs';
import { inSeconds, token, unique } from './lib/tokens.mjs';

/** How soon a revocation must be in force on every replica: a second, and what a busy machine takes. */
const SOON_EVERYWHERE = 2000;

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

/** What a handshake is refused with. */
async function refusal(t, server, options) {
  const client = new Client(t, server, { reconnection: false, ...options });
  const { state, detail } = await client.state(() => true, 'an answer to the handshake');
  assert.equal(state, 'refused', JSON.stringify(client.states));
  return detail;
}

const uploaded = (photoId, userId, clientId) => event('photo.uploaded', { photoId, userId, filename: 'a.jpg', size: 1, mimeType: 'image/jpeg' }, { clientId });

describe('the owner of a photo', () => {
  for (const [how, send] of Object.entries({ XADD: add, PUBLISH: publish })) {
    test(`is known on every replica as soon as the upload is, until the photo is deleted, ${how}`, async (t) => {
      const photoId = unique('photo');
      const [alice, bob] = [unique('alice'), unique('bob')];
      const clients = await Promise.all(servers.flatMap((server) => [alice, bob].map((user) => Client.identified(t, server, { user, permissions: [] }))));
      const owners = clients.filter(({ user }) => user === alice);
      const others = clients.filter(({ user }) => user === bob);
      const may = (client) => client.ask('subscribe:photo', { photoId }).then(({ ok }) => ok);
      const denied = { ok: false, error: 'Access denied' };
      for (const client of clients) assert.deepEqual(await client.ask('subscribe:photo', { photoId }), denied, 'before the upload');
      await send(redis, uploaded(photoId, alice, owners[1].clientId));
      await owners[1].received('upload.event', 1);
      assert.deepEqual(await Promise.all(owners.map(may)), [true, true]);
      for (const client of others) assert.deepEqual(await client.ask('subscribe:photo', { photoId }), denied);
      await send(redis, uploaded(photoId, bob, owners[0].clientId)); // which does not make it his
      await owners[0].received('upload.event', 1);
      assert.deepEqual(await Promise.all(others.map(may)), [false, false]);
      await add(redis, ...numbered(photoId, 0, 5));
      for (const client of owners) await client.received('processing.event', 5);
      for (const client of others) {
        await client.asks('heartbeat');
        assert.deepEqual(numbers(client), []);
      }
      await send(redis, event('photo.deleted', { photoId }, { clientId: owners[0].clientId }));
      await owners[0].received('upload.event', 2);
      assert.deepEqual(await Promise.all(clients.map(may)), [false, false, false, false]);
    });
  }
});

describe('a revocation', () => {
  /** A connected client with a token of these claims, which it always comes back with. */
  const connect = (t, server, claims) => Client.connect(t, server, { auth: { token: token({ permissions: ['photo:read:*'], ...claims }) } });

  /** The clients are closed soon after begun, and refused when they come back. */
  async function areOut(t, clients, begun) {
    for (const client of clients) {
      await client.disconnected();
      const { detail } = await client.state(({ state }) => state === 'refused', 'a refusal');
      assert.equal(detail.message, 'Invalid token');
    }
    t.diagnostic(`closed everywhere after ${Math.round(performance.now() - begun)} ms`);
    assert.ok(performance.now() - begun < SOON_EVERYWHERE);
  }

  test('of a user closes the connections on all replicas within a second, and the tokens are no longer good', async (t) => {
    const [userId, other] = [unique('user'), unique('user')];
    const old = { userId, iat: inSeconds(-60) };
    const clients = await Promise.all([...servers, ...servers].map((server, i) => connect(t, server, { ...old, n: i })));
    const stays = await Promise.all(servers.map((server) => connect(t, server, { userId: other })));
    const caller = servers.map((server) => new Api(server, { ...old, permissions: ['event_bus:publish:*'] }));
    const posts = async () => Promise.all(caller.map(async (api) => (await api.ask('POST', '/events', event('photo.deleted', { photoId: 'p' }))).status));
    assert.deepEqual(await posts(), [202, 202]);
    const begun = performance.now();
    const made = await new Api(servers[0]).post('/revocations', { userId, before: new Date(Date.now() - 10_000).toISOString(), reason: 'a stolen phone' });
    assert.equal(made.id, `user:${userId}`);
    await areOut(t, clients, begun);
    assert.deepEqual(await posts(), [401, 401]);
    for (const client of stays) await client.asks('heartbeat');
    for (const server of servers) {
      const fresh = await connect(t, server, { userId }); // issued since
      await fresh.asks('heartbeat');
    }
    const late = await startServer(redis);
    cleanup(t, () => late.stop());
    assert.equal((await refusal(t, late, { auth: { token: token(old) } })).message, 'Invalid token');
  });

  test('of a token closes its connections alone, and can be taken back', async (t) => {
    const userId = unique('user');
    const [jti, another] = [unique('jti'), unique('jti')];
    const clients = await Promise.all(servers.map((server) => connect(t, server, { userId, jti })));
    const stays = await Promise.all(servers.map((server) => connect(t, server, { userId, jti: another })));
    const begun = performance.now();
    const { id } = await new Api(servers[1]).post('/revocations', { tokenId: jti });
    await areOut(t, clients, begun);
    for (const client of stays) await client.asks('heartbeat');
    const { revocations } = await new Api(servers[0]).get('/revocations');
    assert.ok(revocations.some((r) => r.id === id && r.tokenId === jti), JSON.stringify(revocations));
    await new Api(servers[0]).delete(`/revocations/${encodeURIComponent(id)}`);
    for (const client of clients) {
      await until(() => {
        if (!client.socket.active) client.socket.connect();
        return client.socket.connected;
      }, 'the client to be back');
    }
    assert.equal((await new Api(servers[0]).ask('DELETE', `/revocations/${encodeURIComponent(id)}`)).status, 404);
  });

  test('that makes no sense is refused', async () => {
    const api = new Api(servers[0]);
    for (const [body, field] of [[{}, 'userId'], [{ userId: 'a', tokenId: 'b' }, 'userId'], [{ userId: 7 }, 'userId'], [{ userId: 'a', expires: '2001-01-01T00:00:00Z' }, 'expires'], [{ user: 'a' }, 'user']]) {
      const answer = await api.ask('POST', '/revocations', body);
      assert.ok(answer.status === 400 || answer.status === 422, `${answer.status}`);
      assert.match(JSON.stringify(answer.body), new RegExp(field));
    }
  });
});

describe('at the end of a token', () => {
  const EXPIRES = 2; // seconds

  test('close: the connection is closed, a fresh token brings it back with what it missed', async (t) => {
    const user = unique('user');
    const give = (answer) => answer({ token: token({ userId: user, permissions: ['photo:read:*'] }, { expiresIn: EXPIRES }) });
    const client = await Client.identified(t, servers[0], { user, auth: give });
    const photoId = unique('photo');
    await client.asks('subscribe:photo', { photoId });
    const from = client.states.length;
    await client.disconnected(from);
    await add(redis, ...numbered(photoId, 0, 3));
    assert.equal(await client.connected(from), true);
    await client.received('processing.event', 3);
    assert.deepEqual(numbers(client), [0, 1, 2]);
  });

  test('keep: the connection stays, but nobody else comes in by it', async (t) => {
    const { server } = await startAlone(t, { JWT_ON_EXPIRY: 'keep' });
    const auth = { token: token({ userId: 'u' }, { expiresIn: EXPIRES }) };
    const client = await Client.connect(t, server, { auth, reconnection: false });
    await sleep((EXPIRES + 1) * 1000); // the token's life, which is what this test is about
    await client.asks('heartbeat');
    assert.equal(client.states.length, 1, JSON.stringify(client.states));
    const long = { token: token({ userId: 'u', exp: inSeconds(-60) }) }; // clocks may differ by some seconds
    assert.equal((await refusal(t, server, { auth: long })).message, 'Invalid token');
  });
});

describe('limits', () => {
  const OVER = 'Rate limit exceeded';

  test('of a connection: its event is refused, with an error and a false ack, and it stays', async (t) => {
    const { server } = await startAlone(t, { RATE_LIMIT_EVENTS: '0.01', RATE_LIMIT_EVENTS_BURST: '3' });
    for (const [transport, options] of Object.entries(TRANSPORTS)) {
      const user = unique('user');
      const client = await Client.connect(t, server, { user, ...options });
      const answers = [];
      for (const name of ['heartbeat', 'identify', 'heartbeat', 'heartbeat', 'identify']) answers.push(await client.ask(name, { clientId: 'c' }));
      assert.deepEqual(answers.map(({ ok }) => ok), [true, true, true, false, false], transport);
      assert.deepEqual(answers[3], { ok: false, error: OVER });
      assert.deepEqual(await client.received('error', 2), [{ message: OVER, event: 'heartbeat' }, { message: OVER, event: 'identify' }]);
      assert.equal(client.states.length, 1);
      const again = await Client.connect(t, server, { user, ...options });
      await again.asks('heartbeat'); // another connection has its own
    }
  });

  test('of a user: on all replicas together', async (t) => {
    const { servers: both } = await replicas(t, 2, {}, { RATE_LIMIT_USER_EVENTS: '8', RATE_LIMIT_USER_WINDOW: '10m' });
    const user = unique('user');
    const clients = await Promise.all([...both, ...both].map((server) => Client.connect(t, server, { user })));
    const answers = [];
    for (const n of range(16)) answers.push((await clients[n % 4].ask('heartbeat')).ok);
    assert.deepEqual(answers, range(16).map((n) => n < 8));
    for (const server of both) await (await Client.connect(t, server)).asks('heartbeat'); // another user
    for (const client of clients) assert.equal(client.states.length, 1);
  });

  describe('of an address', () => {
    const MAX = 3;
    const env = { RATE_LIMIT_IP_MAX: String(MAX), RATE_LIMIT_IP_WINDOW: '10m' };
    const from = (address, options) => ({ extraHeaders: { 'x-forwarded-for': address }, ...options });

    for (const [transport, options] of Object.entries({ websocket: TRANSPORTS.websocket, polling: TRANSPORTS.polling })) {
      test(`as a trusted proxy tells it, ${transport}`, async (t) => {
        const { server } = await startAlone(t, { ...env, TRUSTED_PROXIES: '127.0.0.0/8,10.0.0.0/8' });
        const [one, other] = ['203.0.113.1', '203.0.113.2'];
        for (const address of [one, `198.51.100.7, ${one}`, `${one}, 10.1.1.1`]) await Client.connect(t, server, from(address, options)); // what a client claims does not count
        const refused = await refusal(t, server, from(one, options));
        assert.equal(refused.message, OVER);
        assert.ok(refused.data.retryAfter > 0, JSON.stringify(refused.data));
        assert.equal((await refusal(t, server, from(`198.51.100.8, ${one}`, options))).message, OVER);
        await Client.connect(t, server, from(other, options));
      });
    }

    test('without a trusted proxy: of the connection itself, whatever it claims', async (t) => {
      const { server } = await startAlone(t, env);
      for (const n of range(MAX)) await Client.connect(t, server, from(`203.0.113.${n}`));
      assert.equal((await refusal(t, server, from('203.0.113.99'))).message, OVER);
    });
  });

  test('of publishing over HTTP: of a user, on all replicas together', async (t) => {
    const { servers: both } = await replicas(t, 2, {}, { RATE_LIMIT_PUBLISH: '5', RATE_LIMIT_PUBLISH_WINDOW: '10m' });
    const publisher = (userId) => both.map((server) => new Api(server, { userId, permissions: ['event_bus:publish:*'] }));
    const alice = publisher('alice');
    const deleted = () => event('photo.deleted', { photoId: 'p' });
    const answers = [];
    for (const n of range(8)) answers.push(await alice[n % 2].ask('POST', '/events', deleted()));
    assert.deepEqual(answers.map(({ status }) => status), [...Array(5).fill(202), ...Array(3).fill(429)]);
    assert.ok(Number(answers[7].headers.get('retry-after')) > 0);
    const bob = publisher('bob');
    const batch = (n) => ({ events: range(n).map(() => ({ event: deleted() })) });
    assert.equal((await bob[0].ask('POST', '/events/batch', batch(4))).status, 202);
    assert.equal((await bob[1].ask('POST', '/events/batch', batch(2))).status, 429);
  });

  test('of connections: one more is told 503, and gets in when there is room', async (t) => {
    const { server } = await startAlone(t, { CONNECTION_LIMIT: '2' });
    const first = await Client.connect(t, server, TRANSPORTS.websocket);
    await Client.connect(t, server, TRANSPORTS.websocket);
    const poll = () => fetch(`${server.url}/socket.io/?EIO=4&transport=polling`, { headers: { connection: 'close' } });
    const full = await poll();
    assert.equal(full.status, 503);
    assert.ok(Number(full.headers.get('retry-after')) > 0);
    const third = new Client(t, server, TRANSPORTS.websocket);
    await third.state(({ state }) => state === 'refused', 'a refusal');
    assert.ok((await server.metrics()).value('eventbus_connections_turned_away_total') >= 2);
    first.close();
    assert.equal(await third.connected(), false); // it has tried again by itself
    await third.asks('heartbeat');
  });
});

describe('access to channels', () => {
  test('publishing takes a permission, or a role of the file; admins may', async (t) => {
    const { servers: [server] } = await replicas(t, 1, { security: { channelAccess: { 'photo:upload': { publish: ['uploader'] } } } });
    const [up, done] = [event('photo.deleted', { photoId: 'p' }), event('photo.processing.failed', { photoId: 'p', jobId: 'j', stage: 's', error: { code: 'c', message: 'm' }, retryable: false })];
    const CASES = [
      [{ userId: 'a', roles: ['uploader'] }, [202, 403]],
      [{ userId: 'b', permissions: ['event_bus:publish:photo:completion'] }, [403, 202]],
      [{ userId: 'c', permissions: ['event_bus:publish:*'] }, [202, 202]],
      [{ userId: 'd', permissions: ['event_bus:subscribe:*', 'photo:read:*'], roles: ['viewer'] }, [403, 403]],
      [{ userId: 'e', roles: ['admin'] }, [202, 202]],
    ];
    for (const [claims, want] of CASES) {
      const api = new Api(server, claims);
      const got = [];
      for (const e of [up, done]) got.push((await api.ask('POST', '/events', { ...e, id: unique('event') })).status);
      assert.deepEqual(got, want, JSON.stringify(claims));
    }
  });
});

describe('the audit', () => {
  test('has each event the design names as a line of JSON, and no log has a token', async (t) => {
    const config = new ConfigFile(t, {
      security: { eventValidation: { 'photo.deleted': [{ name: 'small', type: 'content', rules: [{ type: 'max_size', value: 60 }] }] } },
    });
    const file = join(config.directory, 'audit.jsonl');
    const { redis: store, server: audited } = await startAlone(t, {
      CONFIG_FILE: config.path, LOG_LEVEL: 'debug', AUDIT_SINK: 'file', AUDIT_FILE: file,
      RATE_LIMIT_MAX: '3', RATE_LIMIT_WINDOW: '10m', RATE_LIMIT_EVENTS: '0.01', RATE_LIMIT_EVENTS_BURST: '8',
    });
    const tokens = [];
    const made = (claims, options) => {
      tokens.push(token(claims, options));
      return tokens.at(-1);
    };
    const records = () => (existsSync(file) ? readFileSync(file, 'utf8') : '').split('\n').filter(Boolean).map((line) => JSON.parse(line));
    const recorded = async (want) => {
      let found;
      await until(() => {
        found = records().find((r) => Object.entries(want).every(([k, v]) => (v instanceof RegExp ? v.test(r[k]) : r[k] === v)));
        return found;
      }, () => `a record ${JSON.stringify(want)}, got\n${records().map((r) => JSON.stringify(r)).join('\n')}`);
      assert.ok(Math.abs(Date.parse(found.time) - Date.now()) < 60_000, JSON.stringify(found));
      assert.ok(found.replica && found.outcome);
      return found;
    };

    // Clients come, well or badly, by all the ways a token can.
    const user = unique('user');
    const jti = unique('jti');
    const good = made({ userId: user, jti });
    const client = await Client.connect(t, audited, { auth: { token: good }, reconnection: false });
    const record = await recorded({ event: 'client_authenticated', userId: user, socketId: client.socket.id, outcome: 'success' });
    assert.equal(record.ip, '127.0.0.1');
    assert.ok(record.tokenId && record.tokenId !== jti, 'an id that nobody can use');
    await Client.connect(t, audited, { auth: undefined, extraHeaders: { authorization: `Bearer ${made({ userId: user, way: 'header' })}` } });
    for (const [auth, reason] of [
      [{ token: made({ userId: user }, { secret: 'another secret that is as long as it takes' }) }, 'invalid_token'],
      [{ token: made({ userId: user, exp: inSeconds(-3600) }) }, 'invalid_token'],
      [{}, 'no_token'],
    ]) {
      await refusal(t, audited, { auth });
      await recorded({ event: 'authentication_failed', reason, outcome: 'denied', ip: '127.0.0.1' });
    }
    await Client.connect(t, audited, { auth: { token: made({ userId: user, n: 3 }) } });
    await refusal(t, audited, { auth: { token: made({ userId: user, n: 4 }) } });
    await recorded({ event: 'rate_limit_exceeded', userId: user, action: 'connect', outcome: 'denied' });

    // What they may not, and tokens where none belong.
    const stray = made({ userId: user, stray: true });
    await client.ask('subscribe:photo', { photoId: 'not-mine' });
    await recorded({ event: 'photo_access_denied', userId: user, target: 'photo:not-mine' });
    await client.ask('subscribe:photo', { photoId: stray });
    await recorded({ event: 'photo_access_denied', userId: user, target: /\[token\]/ });
    await client.ask('subscribe:user', { userId: 'somebody' });
    await recorded({ event: 'user_access_denied', userId: user, target: 'user:somebody' });
    for (const _ of range(8)) await client.ask(stray);
    await recorded({ event: 'rate_limit_exceeded', userId: user, socketId: client.socket.id });

    // The API.
    const nobody = new Api(audited, { userId: 'nobody' });
    const admin = new Api(audited);
    tokens.push(nobody.token, admin.token);
    const bad = new Api(audited);
    bad.token = tokens[2];
    assert.equal((await bad.ask('GET', '/stats')).status, 401);
    await recorded({ event: 'authentication_failed', status: 401 });
    assert.equal((await nobody.ask('POST', '/events', event('photo.deleted', { photoId: 'p' }))).status, 403);
    await recorded({ event: 'channel_access_denied', userId: 'nobody', channel: 'photo:upload', outcome: 'denied' });
    assert.equal((await nobody.ask('GET', '/stats')).status, 403);
    await recorded({ event: 'admin_action', userId: 'nobody', outcome: 'denied' });
    const large = (n) => event('photo.deleted', { photoId: 'p'.repeat(100), [stray]: n });
    const [posted, added] = [large(1), large(2)];
    assert.equal((await admin.ask('POST', '/events', posted)).status, 422);
    await recorded({ event: 'event_validation_failed', userId: 'operator', eventId: posted.id, eventType: 'photo.deleted' });
    await add(store, added);
    await recorded({ event: 'event_validation_failed', eventId: added.id, channel: 'photo:upload', reason: /max_size/ });
    await admin.put('/filters/f', { type: 'exclude', conditions: [{ field: 'data.stage', operator: 'eq', value: 'x' }], action: { type: 'drop' } });
    await recorded({ event: 'admin_action', userId: 'operator', action: 'putFilter', outcome: 'success' });
    await admin.post('/subscriptions', { id: 'hook', channel: 'photo:upload', webhook: { url: 'https://example.com/', headers: { Authorization: `Bearer ${stray}` } } });
    await recorded({ event: 'subscription_changed', userId: 'operator', outcome: 'success' });
    const [letter] = await admin.buried(1);
    await admin.post(`/dead-letters/${letter.id}/replay`);
    await recorded({ event: 'dead_letter_replayed', userId: 'operator', target: new RegExp(letter.id) });
    await admin.post('/revocations', { tokenId: jti });
    await recorded({ event: 'token_revoked', userId: 'operator' });
    await recorded({ event: 'token_revoked', userId: user, socketId: client.socket.id });
    await client.disconnected();
    await refusal(t, audited, { auth: { token: good } });
    await recorded({ event: 'authentication_failed', reason: 'revoked' });
    await Client.connect(t, audited, { reconnection: false, auth: { token: made({ userId: 'brief' }, { expiresIn: 1 }) } });
    await recorded({ event: 'token_expired', userId: 'brief' });
    await fetch(`${audited.url}/socket.io/?EIO=4&transport=polling&token=${stray}`, { headers: { connection: 'close' } });
    for (const n of range(3)) await store.client.xadd('eventbus:in:photo:upload', '*', 'event', JSON.stringify({ ...large(3), id: `${stray}${n}`, type: stray }).slice(0, n === 2 ? 300 : undefined));

    await audited.stop();
    const texts = { log: audited.program.stderr, output: audited.program.stdout, audit: readFileSync(file, 'utf8') };
    for (const line of texts.log.split('\n').filter(Boolean)) JSON.parse(line);
    for (const [where, text] of Object.entries(texts)) {
      for (const each of tokens) {
        const signature = each.split('.')[2];
        assert.ok(!text.includes(each) && !text.includes(signature), `the ${where} has a token: ${text.split('\n').find((line) => line.includes(signature))}`);
      }
    }
    t.diagnostic(`${records().length} records of ${new Set(records().map((r) => r.event)).size} kinds`);
  });
});
