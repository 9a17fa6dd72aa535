// Webhooks: what receivers get, how failures are made up for, and that nothing is lost on the way. The receivers are real
// HTTP servers that fail, hang and recover.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Api, ConfigFile, leaders, replicas } from './lib/api.mjs';
import { until } from './lib/await.mjs';
import { cleanup } from './lib/cleanup.mjs';
import { add, event, numbered, numbers, range } from './lib/events.mjs';
import { Random } from './lib/random.mjs';
import { RedisServer } from './lib/redis.mjs';
import { startServer } from './lib/server.mjs';
import { unique } from './lib/tokens.mjs';
import { watching } from './lib/watching.mjs';
import { ALLOWED, assertSigned, pauses, Receiver, SOON } from './lib/webhook.mjs';

const CHANNEL = 'photo:processing';
const ATTEMPTS = 5; // of events whose receiver answers with an error, by default
const PATIENT = { BREAKER_FAILURE_THRESHOLD: '100000' }; // of servers whose breaker is not what a test is about

let redis;
let servers;
let config;
let api;

before(async () => {
  redis = await RedisServer.start();
  config = new ConfigFile(undefined, SOON);
  const env = { CONFIG_FILE: config.path, ...ALLOWED, ...PATIENT };
  servers = await Promise.all([startServer(redis, env), startServer(redis, env)]);
  api = new Api(servers[0]);
});

after(async () => {
  await Promise.all(servers?.map((server) => server.stop()) ?? []);
  await redis?.remove();
  config?.remove();
});

/** Declares a webhook for the events of one photo, until the test ends: its id. */
async function subscribe(t, receiver, photoId, { webhook, by = api, ...spec } = {}) {
  const id = unique('hook');
  await by.post('/subscriptions', {
    id, channel: CHANNEL, filter: { conditions: [{ field: 'data.photoId', operator: 'eq', value: photoId }] }, ...spec, webhook: { url: receiver.url, ...webhook },
  });
  cleanup(t, () => by.ask('DELETE', `/subscriptions/${id}`));
  return id;
}

const of = (id) => `?subscription=${id}`;

describe('what a receiver gets', () => {
  for (const [form, secret] of Object.entries({
    'of Standard Webhooks': `whsec_${Buffer.from('0123456789abcdef0123456789abcdef').toString('base64')}`, 'of plain text': 'a secret of plain text, long enough', none: undefined,
  })) {
    test(`each event once, as a POST that is signed, with a secret ${form}`, async (t) => {
      const receiver = await Receiver.start(t);
      const photoId = unique('photo');
      const id = await subscribe(t, receiver, photoId, { webhook: { secret, headers: { Authorization: 'Bearer of-the-receiver', 'X-Team': 'photos' } } });
      const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
      const [plain, traced] = [numbered(photoId, 0, 1)[0], numbered(photoId, 1, 2)[0]];
      traced.metadata.traceparent = traceparent;
      traced.data.text = 'Zürich \u2028 "日本" 🎞 </script>';
      await add(redis, plain, traced);
      await receiver.took([plain, traced]);
      for (const e of [plain, traced]) {
        const [request, ...more] = receiver.of(e);
        assert.deepEqual(more, []);
        assert.deepEqual([request.method, request.path], ['POST', '/hook']);
        assert.equal(request.body, JSON.stringify(e), 'byte for byte');
        assert.match(request.headers['content-type'], /^application\/json/);
        assert.equal(request.headers['content-length'], String(Buffer.byteLength(request.body)));
        assert.match(request.headers['user-agent'], /^eventbus-webhooks\//);
        assert.equal(request.id, `${id}:${e.id}`);
        assert.equal(request.headers.authorization, 'Bearer of-the-receiver');
        assert.equal(request.headers['x-team'], 'photos');
        if (secret) assertSigned(request, secret);
        else assert.equal(request.headers['webhook-signature'], undefined);
      }
      assert.equal(receiver.of(traced)[0].headers.traceparent?.split('-')[1], traceparent.split('-')[1]);
      for (const server of servers) {
        const shown = await new Api(server).ask('GET', `/subscriptions/${id}`);
        const text = JSON.stringify(shown.body);
        assert.ok(!text.includes('of-the-receiver') && !(secret && text.includes(secret)), text);
      }
    });
  }

  test('what its filter chooses: types, conditions, expression', async (t) => {
    const photoId = unique('photo');
    const conditions = [{ field: 'data.photoId', operator: 'eq', value: photoId }];
    const events = numbered(photoId, 0, 6);
    const started = event('photo.processing.started', { photoId, jobId: 'j', stages: ['a'], progress: 5 });
    const cases = [
      [{ conditions }, [...events, started]],
      [{ conditions, eventTypes: ['photo.processing.started'] }, [started]],
      [{ conditions: [...conditions, { field: 'data.progress', operator: 'gt', value: 3 }] }, [events[4], events[5], started]],
      [{ conditions, expr: 'data.progress % 2 == 1 && type != "photo.processing.started"' }, [events[1], events[3], events[5]]],
      [{ conditions, eventTypes: ['photo.uploaded'] }, []],
    ];
    const receivers = [];
    for (const [filter] of cases) {
      const receiver = await Receiver.start(t);
      receivers.push(receiver);
      await subscribe(t, receiver, photoId, { filter });
    }
    await add(redis, ...events, started);
    for (const [i, [, want]] of cases.entries()) {
      await receivers[i].took(want);
      assert.deepEqual(receivers[i].taken.map((e) => e.id).sort(), want.map((e) => e.id).sort(), `filter ${i}`);
    }
  });

  test('every event that is accepted after the answer that it is subscribed, whichever replica was asked', async (t) => {
    for (const server of [...servers, ...servers]) {
      const receiver = await Receiver.start(t);
      const photoId = unique('photo');
      const id = await subscribe(t, receiver, photoId, { by: new Api(server) });
      const events = numbered(photoId, 0, 20);
      await add(redis, ...events);
      await receiver.took(events);
      for (const each of servers) assert.equal((await new Api(each).get(`/subscriptions/${id}`)).id, id);
    }
  });
});

describe('a receiver that fails', () => {
  for (const [how, answer] of Object.entries({ 'with 500': { status: 500 }, 'by resetting the connection': 'reset', 'with 408': { status: 408 } })) {
    test(`and recovers, gets the event again, after longer and longer, under the same id: ${how}`, async (t) => {
      const receiver = await Receiver.start(t);
      const photoId = unique('photo');
      await subscribe(t, receiver, photoId);
      receiver.answer = () => (receiver.requests.length < ATTEMPTS ? answer : {});
      const [e] = numbered(photoId, 0, 1);
      await add(redis, e);
      await receiver.took([e]);
      const requests = receiver.of(e);
      assert.equal(requests.length, ATTEMPTS);
      assert.equal(new Set(requests.map(({ id }) => id)).size, 1);
      assert.equal(new Set(requests.map(({ body }) => body)).size, 1);
      pauses(requests).forEach((pause, i) => assert.ok(pause > 0.9 * 50 * 2 ** i, `pauses of ${pauses(requests)}`));
    });
  }

  test('for good: the event is in the dead letters, after as many attempts as it may have', async (t) => {
    const receiver = await Receiver.start(t);
    const photoId = unique('photo');
    const [retried, once] = [await subscribe(t, receiver, photoId), await subscribe(t, receiver, photoId, { autoRetry: false })];
    receiver.answer = () => ({ status: 500 });
    const [e] = numbered(photoId, 0, 1);
    await add(redis, e);
    for (const [id, attempts] of [[retried, ATTEMPTS], [once, 1]]) {
      const [letter] = await api.buried(1, of(id));
      assert.deepEqual([letter.reason, letter.attempts, letter.category, letter.eventId], ['max_retries_exceeded', attempts, 'unknown', e.id]);
      assert.match(letter.error, /500/);
      assert.deepEqual(letter.event, e);
      assert.equal(receiver.requests.filter((r) => r.id === `${id}:${e.id}`).length, attempts);
    }
  });

  test('by hanging is left after the timeout, and asked again', async (t) => {
    const receiver = await Receiver.start(t);
    const photoId = unique('photo');
    await subscribe(t, receiver, photoId, { webhook: { timeout: 300 } });
    receiver.answer = () => (receiver.requests.length === 1 ? 'hang' : {});
    const [e] = numbered(photoId, 0, 1);
    await add(redis, e);
    await receiver.took([e]);
    const [pause] = pauses(receiver.of(e));
    assert.ok(pause > 0.9 * 350, `a pause of ${pause} ms`);
  });

  test('with 429 and Retry-After is left alone for that long', async (t) => {
    const receiver = await Receiver.start(t);
    const photoId = unique('photo');
    await subscribe(t, receiver, photoId, { concurrency: 1 });
    receiver.answer = () => (receiver.requests.length === 1 ? { status: 429, headers: { 'retry-after': '1' } } : {});
    const events = numbered(photoId, 0, 3);
    await add(redis, ...events);
    await receiver.took(events);
    assert.ok(pauses(receiver.requests)[0] > 950, `pauses of ${pauses(receiver.requests)}`);
    assert.equal(receiver.requests.length, 4);
  });

  test('by a redirect: nothing goes where it leads', async (t) => {
    const [receiver, elsewhere] = [await Receiver.start(t), await Receiver.start(t)];
    for (const status of [301, 302, 307, 308]) {
      const photoId = unique('photo');
      const id = await subscribe(t, receiver, photoId);
      receiver.answer = () => ({ status, headers: { location: elsewhere.url } });
      await add(redis, ...numbered(photoId, 0, 1));
      const [letter] = await api.buried(1, of(id));
      assert.deepEqual([letter.reason, letter.attempts], ['permanent', 1]);
    }
    assert.deepEqual(elsewhere.requests, []);
    assert.equal(receiver.requests.length, 4);
  });

  test('with an error of ours (4xx) is asked once: the event is in the dead letters at once', async (t) => {
    const receiver = await Receiver.start(t);
    const photoId = unique('photo');
    const id = await subscribe(t, receiver, photoId);
    const STATUSES = [400, 401, 403, 404, 410, 413, 422];
    receiver.answer = ({ event: e }) => ({ status: e.data.progress });
    for (const status of STATUSES) await add(redis, ...numbered(photoId, status, status + 1));
    const letters = await api.buried(STATUSES.length, of(id));
    for (const letter of letters) {
      assert.deepEqual([letter.reason, letter.attempts], ['permanent', 1]);
      assert.match(letter.error, new RegExp(String(letter.event.data.progress)));
    }
    assert.equal(receiver.requests.length, STATUSES.length);
  });
});

test('order per photo is kept, whatever fails in between', async (t) => {
  const receiver = await Receiver.start(t);
  const chance = new Random(4);
  const failures = new Map(); // event id -> how often it has failed
  receiver.answer = async ({ event: e }) => {
    const failed = failures.get(e.id) ?? 0;
    await new Promise((resolve) => setTimeout(resolve, chance.between(0, 5)));
    if (chance.next() > 0.3 || failed === ATTEMPTS - 2) return {};
    failures.set(e.id, failed + 1);
    return chance.next() < 0.5 ? { status: 503 } : 'reset';
  };
  const photos = range(5).map(() => unique('photo'));
  const jobId = unique('job');
  await subscribe(t, receiver, '', { ordered: 'photo', concurrency: 16, filter: { expr: `data.jobId == "${jobId}"` }, retryDelay: 5 });
  const events = range(20).flatMap((n) => photos.flatMap((photoId) => numbered(photoId, n, n + 1))).map((e) => ({ ...e, data: { ...e.data, jobId } }));
  await add(redis, ...events);
  await receiver.took(events, 30_000);
  for (const photoId of photos) {
    assert.deepEqual(receiver.taken.filter((e) => e.data.photoId === photoId).map((e) => e.data.progress), range(20));
  }
  t.diagnostic(`${receiver.requests.length} requests for ${events.length} events`);
  assert.ok(receiver.requests.length > events.length, 'some failed');
});

test('a slow webhook delays neither another one nor browsers', async (t) => {
  const [slow, fast] = [await Receiver.start(t), await Receiver.start(t)];
  const client = await watching(t, servers[0]);
  await subscribe(t, slow, client.photoId, { concurrency: 2 });
  await subscribe(t, fast, client.photoId);
  let release;
  const released = new Promise((resolve) => { release = resolve; });
  slow.answer = () => released.then(() => ({}));
  const events = numbered(client.photoId, 0, 300);
  await add(redis, ...events);
  await client.received('processing.event', 300);
  await fast.took(events);
  assert.deepEqual(numbers(client), range(300));
  assert.deepEqual(slow.taken, []);
  assert.equal(slow.requests.length, 2, 'as many as may be under way');
  release({});
  await slow.took(events);
});

test('one that is removed is sent nothing more, and what it was owed is buried', async (t) => {
  const receiver = await Receiver.start(t);
  const photoId = unique('photo');
  const id = await subscribe(t, receiver, photoId, { concurrency: 2, webhook: { timeout: 60_000 } });
  receiver.answer = () => 'hang';
  const events = numbered(photoId, 0, 10);
  await add(redis, ...events);
  await receiver.received(2);
  await new Api(servers[1]).delete(`/subscriptions/${id}`);
  const letters = await api.buried(10, of(id), 20_000);
  assert.deepEqual(letters.map((l) => l.eventId).sort(), events.map((e) => e.id).sort());
  assert.deepEqual([...new Set(letters.map((l) => l.reason))], ['unsubscribed']);
  assert.equal(receiver.requests.length, 2);
  for (const server of servers) assert.equal((await new Api(server).ask('GET', `/subscriptions/${id}`)).status, 404);
});

test('one with too many errors is removed, and what it was owed is buried', async (t) => {
  const receiver = await Receiver.start(t);
  const photoId = unique('photo');
  const id = await subscribe(t, receiver, photoId, { maxErrors: 3, concurrency: 1 });
  receiver.answer = () => ({ status: 500 });
  const events = numbered(photoId, 0, 5);
  await add(redis, ...events);
  for (const server of servers) {
    await until(async () => (await new Api(server).ask('GET', `/subscriptions/${id}`)).status === 404, 'its removal', 20_000);
  }
  const letters = await api.buried(5, of(id), 20_000);
  assert.deepEqual(letters.map((l) => l.eventId).sort(), events.map((e) => e.id).sort());
  assert.ok(receiver.requests.length >= 3 && receiver.requests.length < 8, `${receiver.requests.length} requests`);
});

describe('webhooks of the file', () => {
  test('are delivered to, outlive a restart in the middle of retries, and end with the file', async (t) => {
    const [receiver, other] = [await Receiver.start(t), await Receiver.start(t)];
    const SECRET = 'the secret of the one in the file';
    const hook = (id, { url }) => ({ id, channel: CHANNEL, ordered: 'photo', webhook: { url, secret: SECRET } });
    const settings = { resilience: { ...SOON.resilience, maxRetries: { default: 1000 }, maxRetryDelay: { default: 300 } } };
    const { redis: store, servers: [first], config: file } = await replicas(t, 1, { ...settings, subscriptions: [hook('one', receiver), hook('two', other)] }, { ...ALLOWED, ...PATIENT });
    const groups = async () => (await store.client.xinfo('GROUPS', 'eventbus:{socket.io}:feed:photo:processing').catch(() => [])).flat();
    await until(async () => (await groups()).includes('hook:one') && (await groups()).includes('hook:two'), 'the subscriptions');
    const here = new Api(first);
    const { subscriptions } = await here.get('/subscriptions');
    assert.deepEqual(subscriptions.map(({ id, source }) => [id, source]), [['one', 'configuration'], ['two', 'configuration']]);
    assert.ok(!JSON.stringify(subscriptions).includes(SECRET));
    for (const [method, body] of [['PUT', { channel: CHANNEL, webhook: { url: receiver.url } }], ['DELETE']]) {
      assert.equal((await here.ask(method, '/subscriptions/one', body)).status, 409);
    }
    const events = numbered('p', 0, 5);
    receiver.answer = () => ({ status: 503 });
    await add(store, ...events);
    await other.took(events);
    await receiver.received(3);
    await first.stop();
    const before = receiver.requests.length;
    const missed = numbered('p', 5, 10); // nobody is there
    await add(store, ...missed);
    const second = await startServer(store, { CONFIG_FILE: file.path, ...ALLOWED, ...PATIENT });
    cleanup(t, () => second.stop());
    await receiver.received(before + 2);
    receiver.answer = () => ({});
    await receiver.took([...events, ...missed], 20_000);
    await other.took(missed);
    assert.deepEqual(receiver.taken.map((e) => e.data.progress), range(10));
    for (const request of receiver.requests) assertSigned(request, SECRET);

    receiver.answer = () => ({ status: 503 });
    const [left] = numbered('p', 10, 11);
    await add(store, left);
    await until(() => receiver.of(left).length > 0, 'an attempt');
    file.write({ ...settings, subscriptions: [hook('two', other)] });
    second.signal('SIGHUP');
    const [letter] = await new Api(second).buried(1);
    assert.deepEqual([letter.subscription, letter.reason, letter.eventId], ['one', 'unsubscribed', left.id]);
    await other.took([left]);
    const after = numbered('p', 11, 12);
    await add(store, ...after);
    await other.took(after);
    assert.deepEqual(receiver.of(after[0]), []);
  });
});

describe('private addresses', () => {
  test('are refused by default: as such, and when a name leads there', async (t) => {
    const { redis: store, servers: [server] } = await replicas(t, 1, SOON);
    const receiver = await Receiver.start(t);
    const here = new Api(server);
    for (const url of [receiver.url, 'https://127.0.0.1/', 'https://[::1]/', 'https://10.1.2.3/', 'https://169.254.169.254/latest', 'https://0.0.0.0/', 'https://[::ffff:127.0.0.1]/']) {
      const answer = await here.ask('POST', '/subscriptions', { channel: CHANNEL, webhook: { url } });
      assert.equal(answer.status, 422, url);
      assert.deepEqual(answer.body.errors.map((e) => e.field), ['webhook.url']);
    }
    const { id } = await here.post('/subscriptions', { channel: CHANNEL, webhook: { url: `https://localhost:${new URL(receiver.url).port}/` } });
    await add(store, ...numbered('p', 0, 1));
    const [letter] = await here.buried(1, of(id));
    assert.deepEqual([letter.reason, letter.attempts], ['permanent', 1]);
    assert.match(letter.error, /not allowed/);
    assert.deepEqual(receiver.requests, []);
  });
});

describe('the circuit breaker', () => {
  const settings = (whenOpen) => ({ resilience: { ...SOON.resilience, maxRetries: { default: 50 }, circuitBreaker: { failureThreshold: 3, resetTimeout: 1000, whenOpen } } });

  test('leaves a receiver alone that fails, and closes again when it is well', async (t) => {
    const { redis: store, servers: [server] } = await replicas(t, 1, settings('wait'), ALLOWED);
    const receiver = await Receiver.start(t);
    const here = new Api(server);
    const id = await subscribe(t, receiver, 'p', { concurrency: 1, by: here });
    receiver.answer = () => ({ status: 500 });
    const state = async () => (await here.get(`/subscriptions/${id}`)).state;
    assert.equal(await state(), 'active');
    const events = numbered('p', 0, 10);
    await add(store, ...events);
    await receiver.received(3);
    await until(async () => await state() === 'paused', 'the state paused');
    await receiver.received(4); // a trial
    assert.ok(pauses(receiver.requests)[2] > 900, `pauses of ${pauses(receiver.requests)}`);
    receiver.answer = () => ({});
    await receiver.took(events, 20_000);
    await until(async () => await state() === 'active', 'the state active');
    assert.deepEqual(await here.letters(), [], 'no attempt counts while it is open');
    const later = numbered('p', 10, 20);
    await add(store, ...later);
    await receiver.took(later, 3000);
  });

  test('has events buried meanwhile, if so said', async (t) => {
    const { redis: store, servers: [server] } = await replicas(t, 1, settings('deadLetter'), ALLOWED);
    const receiver = await Receiver.start(t);
    const here = new Api(server);
    await subscribe(t, receiver, 'p', { concurrency: 1, by: here });
    receiver.answer = () => ({ status: 500 });
    await add(store, ...numbered('p', 0, 10));
    const letters = await here.buried(7);
    assert.deepEqual([...new Set(letters.map((l) => l.reason))], ['circuit_open']);
  });
});

test('the leader is killed in the middle of retries: nothing is lost, and the attempts go on where they were', async (t) => {
  const MOST = 8;
  const { redis: store, servers: both } = await replicas(t, 2, { resilience: { ...SOON.resilience, maxRetries: { default: MOST } } }, { ...ALLOWED, ...PATIENT });
  const leader = (await leaders(both))[CHANNEL];
  const other = both[1 - leader];
  const here = new Api(other);
  const receiver = await Receiver.start(t);
  let well = false;
  const events = numbered('p', 0, 40);
  const [doomed] = events;
  receiver.answer = ({ event: e }) => (well && e.id !== doomed.id ? {} : { status: 500 });
  const id = await subscribe(t, receiver, 'p', { by: here, concurrency: 16 });
  await add(store, ...events);
  await until(() => events.every((e) => receiver.of(e).length >= 2), 'two attempts of each');
  both[leader].signal('SIGKILL');
  await both[leader].exit();
  const before = receiver.of(doomed).length;
  well = true;
  const later = numbered('p', 40, 50);
  await add(store, ...later);
  await receiver.took([...events.slice(1), ...later], 30_000);
  const [letter] = await here.buried(1, of(id), 30_000);
  assert.deepEqual([letter.eventId, letter.reason, letter.attempts], [doomed.id, 'max_retries_exceeded', MOST]);
  const requests = receiver.of(doomed).length;
  assert.ok(before >= 2 && requests >= MOST && requests <= MOST + 1, `${before} requests before, ${requests} altogether`); // one may not have been noted
  for (const e of [...events, ...later]) assert.equal(new Set(receiver.of(e).map((r) => r.id)).size, 1);
  t.diagnostic(`${receiver.requests.length} requests for ${events.length + later.length} events`);
  assert.equal((await here.letters()).length, 1);
});
