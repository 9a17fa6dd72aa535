// Dead letters: what could not be delivered or was refused, listed, shown, delivered again and purged, by the command and by the API.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Api, eventbus, replicas } from './lib/api.mjs';
import { until } from './lib/await.mjs';
import { add, event, range } from './lib/events.mjs';
import { unique } from './lib/tokens.mjs';
import { watching } from './lib/watching.mjs';
import { ALLOWED, Receiver, SOON } from './lib/webhook.mjs';

const TYPE = 'photo.processing.stage.completed';

const stage = (photoId, name, data) => event(TYPE, { photoId, jobId: 'job', stage: name, progress: 1, ...data });

/** Settings that refuse events whose data is larger than that. */
const atMost = (bytes) => ({ ...SOON, security: { eventValidation: { [TYPE]: [{ name: 'small', type: 'content', rules: [{ type: 'max_size', value: bytes }] }] } } });

const large = (photoId, name) => stage(photoId, name, { result: 'x'.repeat(500) });

/** How often the client has the event. */
const times = (client, { id }) => client.inbox.filter(({ body }) => body?.id === id).length;

/** The two ways of replaying and purging: by the command, and by the API of a replica. */
const WAYS = {
  'eventbus dlq': ({ redis }) => ({
    replay: async (id, { browsers } = {}) => {
      const { code, stderr } = await eventbus(redis, 'dlq', 'replay', id, ...(browsers ? ['--browsers'] : []));
      return { ok: code === 0, text: stderr };
    },
    replayAll: async ({ subscription }) => {
      const { code, stderr } = await eventbus(redis, 'dlq', 'replay', '--all', '--subscription', subscription);
      assert.equal(code, 0, stderr);
      const [, replayed, failed] = stderr.match(/replayed (\d+), failed (\d+)/);
      return { replayed: Number(replayed), failed: Number(failed) };
    },
    purge: async (id) => (await eventbus(redis, 'dlq', 'purge', id)).stderr.includes('purged 1'),
    purgeAll: async ({ reason }) => {
      const { code, stderr } = await eventbus(redis, 'dlq', 'purge', '--all', ...(reason ? ['--reason', reason] : []));
      assert.equal(code, 0, stderr);
      return Number(stderr.match(/purged (\d+)/)[1]);
    },
  }),
  'the API': ({ servers }) => {
    const api = new Api(servers.at(-1));
    return {
      replay: async (id, { browsers } = {}) => {
        const { status, body } = await api.ask('POST', `/dead-letters/${id}/replay`, browsers ? { browsers } : undefined);
        return { ok: status === 200, text: JSON.stringify(body) };
      },
      replayAll: ({ subscription }) => api.post('/dead-letters/replay', { subscription }),
      purge: async (id) => (await api.ask('DELETE', `/dead-letters/${id}`)).status === 204,
      purgeAll: async ({ reason }) => (await api.delete(`/dead-letters?${reason ? `reason=${reason}` : 'all=true'}`)).removed,
    };
  },
};

/** Two replicas, a client of each that watches one photo, and two webhooks: one takes everything, of the other answer decides. */
async function scene(t) {
  const all = await replicas(t, 2, atMost(300), ALLOWED);
  const api = new Api(all.servers[0]);
  const [well, picky] = [await Receiver.start(t), await Receiver.start(t)];
  for (const [id, { url }] of Object.entries({ well, picky })) await api.put(`/subscriptions/${id}`, { channel: 'photo:processing', ordered: 'photo', webhook: { url } });
  const clients = await Promise.all(all.servers.map((server) => watching(t, server)));
  const [{ photoId }] = clients;
  await clients[1].asks('subscribe:photo', { photoId });
  /** Everything that was sent before has come where it comes. */
  const settled = async () => {
    const last = stage(photoId, 'last');
    const { answer } = picky;
    picky.answer = (request) => (request.event.id === last.id ? {} : answer(request));
    await add(all.redis, last);
    for (const client of clients) await until(() => times(client, last) === 1, 'the last event');
    await well.took([last]);
    await picky.took([last]);
    picky.answer = answer;
  };
  return { ...all, api, well, picky, clients, photoId, settled };
}

describe('a letter of a webhook', () => {
  for (const [how, by] of Object.entries(WAYS)) {
    test(`is replayed to that webhook alone, under its id, ${how}`, async (t) => {
      const s = await scene(t);
      s.picky.answer = () => ({ status: 410 });
      const e = stage(s.photoId, 'once');
      await add(s.redis, e);
      const [letter] = await s.api.buried(1);
      assert.deepEqual([letter.subscription, letter.reason, letter.eventId], ['picky', 'permanent', e.id]);
      await s.settled();
      assert.deepEqual(s.clients.map((client) => times(client, e)), [1, 1]);

      s.picky.answer = () => ({});
      const { ok, text } = await by(s).replay(letter.id);
      assert.ok(ok, text);
      await s.picky.took([e]);
      await s.settled();
      assert.deepEqual(s.clients.map((client) => times(client, e)), [1, 1], 'browsers do not hear of it');
      assert.equal(s.well.of(e).length, 1, 'nor does the other webhook');
      const requests = s.picky.of(e);
      assert.equal(requests.length, 2);
      assert.equal(requests[1].id, requests[0].id);
      assert.equal(requests[1].body, requests[0].body);
      assert.deepEqual(await s.api.letters(), []);
      assert.equal((await by(s).replay(letter.id)).ok, false, 'it is gone');
    });

    test(`comes back when it fails again, ${how}`, async (t) => {
      const s = await scene(t);
      s.picky.answer = () => ({ status: 410 });
      const e = stage(s.photoId, 'never');
      await add(s.redis, e);
      const [first] = await s.api.buried(1);
      assert.ok((await by(s).replay(first.id)).ok);
      let second;
      await until(async () => { [second] = await s.api.letters(); return second && second.id !== first.id; }, 'the letter again');
      assert.deepEqual([second.subscription, second.eventId, second.event], ['picky', e.id, e]);
      assert.equal((await s.api.letters()).length, 1);
    });

    test(`with browsers: everybody has it again, exactly once, ${how}`, async (t) => {
      const s = await scene(t);
      s.picky.answer = () => ({ status: 410 });
      const e = stage(s.photoId, 'again');
      await add(s.redis, e);
      const [letter] = await s.api.buried(1);
      await s.settled();
      s.picky.answer = () => ({});
      assert.ok((await by(s).replay(letter.id, { browsers: true })).ok);
      await s.picky.took([e]);
      await s.settled();
      assert.deepEqual(s.clients.map((client) => times(client, e)), [2, 2]);
      assert.deepEqual([s.well.of(e).length, s.picky.of(e).length], [2, 2]);
      await add(s.redis, e); // its publisher is not sure: it is still the same event
      await s.settled();
      assert.deepEqual(s.clients.map((client) => times(client, e)), [2, 2]);
      assert.deepEqual(await s.api.letters(), []);
    });

    test(`many of one subscription at once, in their order; not those of others, ${how}`, async (t) => {
      const s = await scene(t);
      s.picky.answer = () => ({ status: 422 }); // about each event: the circuit stays closed
      const events = range(30).map((n) => stage(s.photoId, 'many', { progress: n }));
      await add(s.redis, ...events, large(s.photoId, 'refused'));
      await s.api.buried(31);
      s.picky.answer = () => ({});
      assert.deepEqual(await by(s).replayAll({ subscription: 'picky' }), { replayed: 30, failed: 0 });
      await s.picky.took(events);
      await s.settled();
      assert.deepEqual(s.picky.requests.slice(30, 60).map((r) => r.event.id), events.map((e) => e.id), 'in their order');
      assert.deepEqual(events.map((e) => s.picky.of(e).length), events.map(() => 2));
      assert.deepEqual(s.clients.map((client) => events.map((e) => times(client, e))), s.clients.map(() => events.map(() => 1)));
      assert.deepEqual((await s.api.letters()).map((l) => l.reason), ['validation']);
    });

    test(`whose subscription is gone stays, ${how}`, async (t) => {
      const s = await scene(t);
      s.picky.answer = () => ({ status: 410 });
      await add(s.redis, stage(s.photoId, 'late'));
      const [letter] = await s.api.buried(1);
      await s.api.delete('/subscriptions/picky');
      await until(async () => !(await s.redis.client.xinfo('GROUPS', 'eventbus:{socket.io}:feed:photo:processing')).flat().includes('hook:picky'), 'its group to go', 20_000);
      const { ok, text } = await by(s).replay(letter.id);
      assert.equal(ok, false);
      assert.match(text, /picky is gone/);
      assert.deepEqual((await s.api.letters()).map((l) => l.id), [letter.id]);
    });
  }
});

describe('a letter of an event that was refused', () => {
  for (const [how, by] of Object.entries(WAYS)) {
    test(`reaches everybody once when what refused it was mended, ${how}`, async (t) => {
      const s = await scene(t);
      const e = large(s.photoId, 'too large');
      await add(s.redis, e);
      const [letter] = await s.api.buried(1);
      assert.deepEqual([letter.subscription, letter.reason, letter.eventId, letter.event], [undefined, 'validation', e.id, e]);
      await s.settled();
      assert.deepEqual(s.clients.map((client) => times(client, e)), [0, 0]);

      assert.ok((await by(s).replay(letter.id)).ok); // too soon
      let again;
      await until(async () => { [again] = await s.api.letters(); return again && again.id !== letter.id; }, 'the letter again');
      assert.deepEqual(again.event, e);

      s.config.write(atMost(5000));
      for (const server of s.servers) {
        server.signal('SIGHUP');
        await until(() => server.program.stderr.includes('the configuration was read again'), 'the reload');
      }
      assert.ok((await by(s).replay(again.id)).ok);
      for (const client of s.clients) await until(() => times(client, e) === 1, 'the event');
      await s.well.took([e]);
      await s.picky.took([e]);
      await add(s.redis, e); // its publisher tries again
      await s.settled();
      assert.deepEqual(s.clients.map((client) => times(client, e)), [1, 1]);
      assert.deepEqual([s.well.of(e).length, s.picky.of(e).length], [1, 1]);
      assert.deepEqual(s.clients[0].inbox.find(({ body }) => body?.id === e.id).body, e, 'as it was');
      assert.deepEqual(await s.api.letters(), []);
    });
  }
});

describe('letters', () => {
  /** Three that were refused, two of a webhook, oldest first. */
  async function five(t) {
    const s = await scene(t);
    s.picky.answer = () => ({ status: 410 });
    const events = range(3).map((n) => large(s.photoId, `refused ${n}`));
    await add(s.redis, ...events);
    await s.api.buried(3);
    await add(s.redis, ...range(2).map((n) => stage(s.photoId, `gone ${n}`)));
    return { ...s, letters: await s.api.buried(5) };
  }

  test('are listed and shown by the command as by the API', async (t) => {
    const s = await five(t);
    const run = async (...args) => {
      const { code, stdout, stderr } = await eventbus(s.redis, 'dlq', ...args);
      assert.equal(code, 0, stderr);
      return stdout;
    };
    const lines = async (...args) => (await run('list', '--json', ...args)).split('\n').filter(Boolean).map((line) => JSON.parse(line));
    const plain = ({ at, ...letter }) => letter;
    assert.deepEqual((await lines()).map(plain), s.letters.map(plain));
    const ids = (letters) => letters.map(({ id }) => id);
    const all = ids(s.letters);
    assert.deepEqual(ids(await lines('--reason', 'validation')), all.slice(0, 3));
    assert.deepEqual(ids(await lines('--subscription', 'picky')), all.slice(3));
    assert.deepEqual(ids(await lines('--channel', 'photo:upload')), []);
    assert.deepEqual(ids(await lines('--limit', '2')), all.slice(0, 2));
    assert.deepEqual(ids(await lines('--limit', '2', '--after', all[1])), all.slice(2, 4));
    assert.deepEqual(ids(await s.api.letters('?reason=validation')), all.slice(0, 3));
    assert.deepEqual(ids(await s.api.letters('?subscription=picky&channel=photo:processing')), all.slice(3));
    const page = await s.api.get('/dead-letters?limit=3');
    assert.deepEqual(ids(page.deadLetters), all.slice(0, 3));
    assert.ok(page.deadLetters.every((l) => l.event === undefined));
    const rest = await s.api.get(`/dead-letters?limit=3&cursor=${page.next}`);
    assert.deepEqual(ids(rest.deadLetters), all.slice(3));

    const table = (await run('list')).trimEnd().split('\n');
    assert.equal(table.length, 6);
    assert.match(table[0], /^ID +AT +CHANNEL +SUBSCRIPTION +REASON +ATTEMPTS +TYPE +EVENT +ERROR$/);
    s.letters.forEach((letter, i) => assert.ok(table[i + 1].startsWith(letter.id) && table[i + 1].includes(letter.eventId), table[i + 1]));
    assert.deepEqual(plain(JSON.parse(await run('show', all[4]))), plain(s.letters[4]));
  });

  test('that are not there, and what makes no sense, is an error', async (t) => {
    const { redis, servers: [server] } = await replicas(t, 1);
    const api = new Api(server);
    for (const [args, code, text] of [
      [['show', '1-1'], 1, /no dead letter 1-1/], [['show'], 2, /id of one/], [['replay', '1-1'], 1, /no dead letter/], [['replay'], 2, /-all/], [['purge'], 2, /-all/],
      [['purge', '--all', '1-1'], 2, /-all/], [['explode'], 2, /want an action/], [[], 2, /want an action/], [['list', '--browsers'], 2, /replay alone/],
    ]) {
      const got = await eventbus(redis, 'dlq', ...args);
      assert.equal(got.code, code, `${args}: ${got.stderr}`);
      assert.match(got.stderr, text);
    }
    for (const [method, path, body, status] of [
      ['GET', '/dead-letters/1-1', undefined, 404], ['GET', '/dead-letters/nonsense', undefined, 404], ['POST', '/dead-letters/1-1/replay', undefined, 404],
      ['DELETE', '/dead-letters/1-1', undefined, 404], ['DELETE', '/dead-letters', undefined, 400], ['POST', '/dead-letters/replay', {}, 400],
      ['GET', '/dead-letters?cursor=nonsense', undefined, 422], ['GET', '/dead-letters?limit=0', undefined, 400],
    ]) {
      const answer = await api.ask(method, path, body);
      assert.equal(answer.status, status, `${method} ${path}: ${JSON.stringify(answer.body)}`);
    }
  });

  for (const [how, by] of Object.entries(WAYS)) {
    test(`are purged: one, by reason, all, ${how}`, async (t) => {
      const s = await five(t);
      const left = async () => (await s.api.letters()).map(({ id }) => id);
      const ids = await left();
      assert.equal(await by(s).purge(ids[0]), true);
      assert.equal(await by(s).purge(ids[0]), false);
      assert.deepEqual(await left(), ids.slice(1));
      assert.equal(await by(s).purgeAll({ reason: 'permanent' }), 2);
      assert.deepEqual(await left(), ids.slice(1, 3));
      assert.equal(await by(s).purgeAll({}), 2);
      assert.deepEqual(await left(), []);
    });
  }

  test('are as many as may be: the oldest go', async (t) => {
    const MOST = 5;
    const { redis, servers: [server] } = await replicas(t, 1, { ...atMost(100), resilience: { deadLetter: { maxSize: MOST } } });
    const client = await watching(t, server);
    const events = range(12).map((n) => large(client.photoId, `refused ${n}`));
    const last = stage(client.photoId, 'last');
    await add(redis, ...events, last);
    await until(() => times(client, last) === 1, 'the last event');
    const letters = await new Api(server).letters();
    assert.deepEqual(letters.map((l) => l.eventId), events.slice(-MOST).map((e) => e.id));
  });

  test('are not kept where they are turned off', async (t) => {
    const { redis, servers: [server] } = await replicas(t, 1, { ...atMost(100), resilience: { deadLetter: { enabled: false } } });
    const client = await watching(t, server);
    const last = stage(client.photoId, 'last');
    await add(redis, large(client.photoId, unique('refused')), last);
    await until(() => times(client, last) === 1, 'the last event');
    assert.equal((await eventbus(redis, 'dlq', 'list', '--json')).stdout, '');
    assert.equal((await new Api(server).ask('GET', '/dead-letters')).status, 501);
  });
});
