// Who gets in, who may watch what, and what happens when a token ends.
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, before, describe, test } from 'node:test';
import { cleanup } from './lib/cleanup.mjs';
import { Client, TRANSPORTS } from './lib/client.mjs';
import { event, numbered, numbers, publish } from './lib/events.mjs';
import { RedisServer } from './lib/redis.mjs';
import { startServer } from './lib/server.mjs';
import { SECRET, inSeconds, token, unique } from './lib/tokens.mjs';

let redis;

before(async () => {
  redis = await RedisServer.start();
});

after(() => redis?.remove());

/** A server for one describe block, with its own environment. */
function serve(env) {
  const holder = {};
  before(async () => {
    holder.server = await startServer(redis, env);
  });
  after(() => holder.server?.stop());
  return holder;
}

async function refusal(t, server, options) {
  const client = new Client(t, server, options);
  const { state, detail } = await client.state(() => true, 'an answer to the handshake');
  assert.equal(state, 'refused');
  return detail;
}

async function deniedPhoto(client, photoId) {
  const before = client.bodies('error').length;
  assert.deepEqual(await client.ask('subscribe:photo', { photoId }), { ok: false, error: 'Access denied' });
  const errors = await client.received('error', before + 1);
  assert.equal(errors[before].message, 'Access denied');
  assert.deepEqual(client.bodies('subscribed'), []);
}

describe('handshake', () => {
  const the = serve();
  const user = { userId: 'alice' };
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048, privateKeyEncoding: { type: 'pkcs8', format: 'pem' }, publicKeyEncoding: { type: 'spki', format: 'pem' } });

  const REFUSED = [
    ['no auth at all', { auth: undefined }, 'Authentication required'],
    ['an auth object without a token', { auth: { user: 'alice' } }, 'Authentication required'],
    ['an empty token', { auth: { token: '' } }, 'Authentication required'],
    ['garbage', { auth: { token: 'garbage' } }, 'Invalid token'],
    ['garbage in three parts', { auth: { token: 'a.b.c' } }, 'Invalid token'],
    ['a very long token', { auth: { token: 'x'.repeat(100_000) } }, 'Invalid token'],
    ['a token signed with another secret', { auth: { token: token(user, { secret: `${SECRET}!` }) } }, 'Invalid token'],
    ['a token whose payload was changed', { auth: { token: forged(token(user), { userId: 'bob' }) } }, 'Invalid token'],
    ['an expired token', { auth: { token: token({ ...user, exp: inSeconds(-60) }) } }, 'Invalid token'],
    ['a token not valid yet', { auth: { token: token({ ...user, nbf: inSeconds(3600) }) } }, 'Invalid token'],
    ['an unsigned token (alg none)', { auth: { token: token(user, { algorithm: 'none', secret: '' }) } }, 'Invalid token'],
    ['HS512 with the right secret', { auth: { token: token(user, { algorithm: 'HS512' }) } }, 'Invalid token'],
    ['RS256', { auth: { token: token(user, { algorithm: 'RS256', secret: privateKey }) } }, 'Invalid token'],
    ['a token of nobody', { auth: { token: token({ roles: ['admin'] }) } }, 'Invalid token'],
    ['garbage in the Authorization header', { auth: undefined, extraHeaders: { authorization: 'Bearer garbage' } }, 'Invalid token'],
    ['a bad token beside a good header', { auth: { token: 'bad' }, extraHeaders: { authorization: token(user) } }, 'Invalid token'],
  ];
  for (const [name, options, message] of REFUSED) {
    for (const [transport, transports] of Object.entries(TRANSPORTS)) {
      test(`${name}, ${transport}: ${message}`, async (t) => {
        const error = await refusal(t, the.server, { ...options, ...transports });
        assert.equal(error.message, message);
      });
    }
  }

  const ACCEPTED = [
    ['a good token beside a bad header', { auth: { token: token(user) }, extraHeaders: { authorization: 'bad' } }],
    ['Bearer in the auth object', { auth: { token: `Bearer ${token(user)}` } }],
    ['sub in place of userId', { auth: { token: token({ sub: 'alice' }) } }],
    ['roles and an expiry', { auth: { token: token({ ...user, roles: ['viewer'], exp: inSeconds(3600) }) } }],
  ];
  for (const [name, options] of ACCEPTED) {
    test(`${name}: accepted`, async (t) => {
      const client = await Client.connect(t, the.server, options);
      await client.asks('subscribe:user', { userId: 'alice' });
    });
  }

  test('userId goes before sub', async (t) => {
    const client = await Client.connect(t, the.server, { auth: { token: token({ userId: 'alice', sub: 'bob' }) } });
    await client.asks('subscribe:user', { userId: 'alice' });
    assert.equal((await client.ask('subscribe:user', { userId: 'bob' })).ok, false);
  });

  test('a refused client gets in once its token is good', async (t) => {
    let next = 'bad';
    const client = new Client(t, the.server, { auth: (give) => give({ token: next }) });
    await client.state((s) => s.state === 'refused', 'a refusal');
    next = token(user);
    client.socket.connect();
    await client.connected();
    await client.asks('heartbeat');
  });
});

describe('rate limit of 3 connections in 2 seconds', () => {
  const the = serve({ RATE_LIMIT_MAX: '3', RATE_LIMIT_WINDOW: '2s' });

  test('refuses the fourth with the seconds to wait, and keeps its word', async (t) => {
    const user = unique('user');
    for (let i = 0; i < 3; i += 1) await Client.connect(t, the.server, { user });
    const error = await refusal(t, the.server, { user });
    assert.equal(error.message, 'Rate limit exceeded');
    const { retryAfter } = error.data;
    assert.ok(retryAfter > 0 && retryAfter <= 2, JSON.stringify(error.data));
    await Client.connect(t, the.server); // others are not concerned
    await sleep(retryAfter * 1000);
    await Client.connect(t, the.server, { user });
  });
});

describe('photo access: owner', () => {
  const the = serve(); // the default

  /** Publishes an upload, and returns once its owner has been shown it. */
  async function uploaded(owner, photoId) {
    const data = { photoId, userId: owner.user, filename: 'a.jpg', size: 1, mimeType: 'image/jpeg' };
    await publish(redis, event('photo.uploaded', data, { clientId: owner.clientId }));
    await owner.received('upload.event', 1);
  }

  test('the owner is whom the upload named, and nobody else', async (t) => {
    const alice = await Client.identified(t, the.server, { permissions: [] });
    const bob = await Client.identified(t, the.server, { permissions: [] });
    const photoId = unique('photo');
    await deniedPhoto(alice, photoId); // not uploaded yet
    await uploaded(alice, photoId);
    await alice.asks('subscribe:photo', { photoId });
    await deniedPhoto(bob, photoId);

    // What bob was denied he does not see: the fence for his own room comes later in the same channel.
    const fence = event('photo.processing.started', { photoId: 'fence', userId: bob.user, jobId: 'j', stages: [] });
    await publish(redis, ...numbered(photoId, 0, 3), fence);
    assert.deepEqual(await bob.received('processing.event', 1), [fence]);
    await alice.received('processing.event', 3);
    assert.deepEqual(numbers(alice), [0, 1, 2]);
  });

  test('a permission for the photo, or for all, opens it too', async (t) => {
    const photoId = unique('photo');
    for (const permission of [`photo:read:${photoId}`, 'photo:read:*']) {
      const client = await Client.connect(t, the.server, { permissions: [permission] });
      await client.asks('subscribe:photo', { photoId });
    }
    const other = await Client.connect(t, the.server, { permissions: ['photo:read:another', 'user:read:*', 'photo:write:*'] });
    await deniedPhoto(other, photoId);
  });

  test('the owner is known to the next server', async (t) => {
    const alice = await Client.identified(t, the.server, { permissions: [] });
    const photoId = unique('photo');
    await uploaded(alice, photoId);
    const next = await startServer(redis);
    cleanup(t, () => next.stop());
    const again = await Client.connect(t, next, { user: alice.user, permissions: [] });
    await again.asks('subscribe:photo', { photoId });
    await deniedPhoto(await Client.connect(t, next, { permissions: [] }), photoId);
  });
});

describe('photo access: permission', () => {
  const the = serve({ PHOTO_ACCESS: 'permission' });

  test('owning is not enough', async (t) => {
    const alice = await Client.identified(t, the.server, { permissions: [] });
    const photoId = unique('photo');
    const data = { photoId, userId: alice.user, filename: 'a.jpg', size: 1, mimeType: 'image/jpeg' };
    await publish(redis, event('photo.uploaded', data, { clientId: alice.clientId }));
    await alice.received('upload.event', 1);
    await deniedPhoto(alice, photoId);
    const reader = await Client.connect(t, the.server, { permissions: [`photo:read:${photoId}`] });
    await reader.asks('subscribe:photo', { photoId });
  });
});

describe('photo access: any', () => {
  const the = serve({ PHOTO_ACCESS: 'any' });

  test('everybody may watch every photo', async (t) => {
    const client = await Client.connect(t, the.server, { permissions: [] });
    await client.asks('subscribe:photo', { photoId: unique('photo') });
  });
});

describe('user rooms', () => {
  const the = serve();

  const CASES = [
    ['oneself', { permissions: [] }, true],
    ['another', { user: 'bob', permissions: [] }, false],
    ['another, with a permission for photos', { user: 'bob', permissions: ['photo:read:*'] }, false],
    ['another, with a permission for a third', { user: 'bob', permissions: ['user:read:carol'] }, false],
    ['another, by permission', { user: 'bob', permissions: ['user:read:alice'] }, true],
    ['another, by a permission for all', { user: 'bob', permissions: ['user:read:*'] }, true],
  ];
  for (const [name, options, allowed] of CASES) {
    test(`${name}: ${allowed ? 'allowed' : 'denied'}`, async (t) => {
      const client = await Client.connect(t, the.server, { user: 'alice', ...options });
      const answer = await client.ask('subscribe:user', { userId: 'alice' });
      if (allowed) {
        assert.equal(answer.ok, true);
        assert.deepEqual(await client.received('subscribed', 1), [{ room: 'user:alice' }]);
      } else {
        assert.deepEqual(answer, { ok: false, error: 'Access denied' });
        assert.equal((await client.received('error', 1))[0].message, 'Access denied');
      }
    });
  }

  test('identify joins the room of the token\'s user, whatever the payload claims', async (t) => {
    const mallory = await Client.connect(t, the.server, { permissions: [] });
    const victim = await Client.identified(t, the.server);
    await mallory.asks('identify', { clientId: unique('client'), userId: victim.user, permissions: ['user:read:*'] });
    assert.equal((await mallory.ask('subscribe:user', { userId: victim.user })).ok, false);
    const started = (userId) => event('photo.processing.started', { photoId: 'p', userId, jobId: 'j', stages: [] });
    const [secret, own] = [started(victim.user), started(mallory.user)];
    await publish(redis, secret, own);
    assert.deepEqual(await victim.received('processing.event', 1), [secret]);
    assert.deepEqual(await mallory.received('processing.event', 1), [own]);
  });
});

describe('the end of a token', () => {
  const the = serve();

  for (const [transport, transports] of Object.entries(TRANSPORTS)) {
    test(`closes the transport, and an auth function returns with a fresh one, ${transport}`, async (t) => {
      const user = unique('user');
      const exp = inSeconds(2);
      const tokens = [token({ userId: user, exp })];
      const given = [];
      const auth = (give) => {
        given.push(tokens.shift() ?? token({ userId: user }));
        give({ token: given.at(-1) });
      };
      const client = await Client.connect(t, the.server, { auth, ...transports });
      await client.asks('heartbeat');
      assert.equal(await client.disconnected(), 'transport close');
      assert.ok(Date.now() >= exp * 1000 - 50, 'closed before the token ended');
      await client.connected(2);
      await client.asks('subscribe:user', { userId: user });
      assert.equal(given.length, 2);
    });
  }

  test('a client that only has the old token is refused', async (t) => {
    const auth = { token: token({ userId: unique('user'), exp: inSeconds(2) }) };
    const client = await Client.connect(t, the.server, { auth });
    assert.equal(await client.disconnected(), 'transport close');
    const { detail } = await client.state((s) => s.state === 'refused', 'a refusal');
    assert.equal(detail.message, 'Invalid token');
  });

  test('a client about to recover has its token checked again', async (t) => {
    let next = token({ userId: unique('user') });
    const client = await Client.connect(t, the.server, { auth: (give) => give({ token: next }) });
    await client.asks('identify', { clientId: unique('client') });
    await client.received('identified', 1);
    next = 'bad';
    client.drop();
    const { detail } = await client.state((s) => s.state === 'refused', 'a refusal');
    assert.equal(detail.message, 'Invalid token');
  });
});

/** The same token with other claims under the old signature. */
function forged(text, claims) {
  const [header, , signature] = text.split('.');
  return [header, Buffer.from(JSON.stringify(claims)).toString('base64url'), signature].join('.');
}
