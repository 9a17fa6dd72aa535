// What decides over events: filters, rules, event types and validators, from the file and at run time, on all replicas; and
// the way of an event through all of it.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { Api, ConfigFile, leaders, replicas } from './lib/api.mjs';
import { until } from './lib/await.mjs';
import { cleanup } from './lib/cleanup.mjs';
import { Client } from './lib/client.mjs';
import { add, event, publish, range } from './lib/events.mjs';
import { RedisServer } from './lib/redis.mjs';
import { startServer } from './lib/server.mjs';
import { watching } from './lib/watching.mjs';
import { ALLOWED, assertSigned, Receiver, SOON } from './lib/webhook.mjs';

/** How events come in. */
const INPUTS = { XADD: add, PUBLISH: publish };

/** How soon a declaration must be in force on every replica: a second, and what a busy machine takes to ask. */
const SOON_EVERYWHERE = 2000;

const PROCESSING = 'eventbus:in:photo:processing';

/** An event of the channel photo:processing. */
const stage = (photoId, name, data, metadata) => event('photo.processing.stage.completed', {
  photoId, jobId: 'job', stage: name, result: null, progress: 1, ...data,
}, metadata);

/** One for the room of the photo on the channel photo:completion. */
const failure = (photoId, metadata) => event('photo.processing.failed', {
  photoId, jobId: 'job', stage: 'resize', error: { code: 'E', message: 'm' }, retryable: true,
}, metadata);

/** What client has of these events, as { name, body }. */
function shown(client, events) {
  const ids = new Set(events.map(({ id }) => id));
  return client.inbox.filter(({ body }) => ids.has(body?.id)).map(({ name, body }) => ({ name, body }));
}

const received = (client, wanted) => until(() => shown(client, [wanted]).length > 0, `event ${wanted.id} (${wanted.type})`);

/** Sends the events and one more behind them, and resolves with what the client has of them when that has come. */
async function passes(client, send, redis, ...events) {
  const last = stage(client.photoId, 'last');
  await send(redis, ...events, last);
  await received(client, last);
  return shown(client, events);
}

const as = (name) => (body) => ({ name, body });

describe('the whole way', () => {
  const SECRET = `whsec_${Buffer.from('a key of twenty-four bytes').toString('base64')}`;

  for (const [how, send] of Object.entries(INPUTS)) {
    test(`from ${how} to browser, webhook and dead letters`, async (t) => {
      const { redis, servers } = await replicas(t, 2, {
        ...SOON,
        filters: [
          { id: 'internal', type: 'exclude', conditions: [{ field: 'data.stage', operator: 'eq', value: 'internal' }], action: { type: 'drop' } },
          { id: 'stamp', type: 'include', channels: ['photo:processing'], action: { type: 'transform', params: { addFields: { bus: 'was here' } } } },
        ],
        security: { eventValidation: { 'photo.processing.stage.completed': [{ name: 'small', type: 'content', rules: [{ type: 'max_size', value: 500 }] }] } },
      }, ALLOWED);
      const hook = await Receiver.start(t);
      const bad = 'not for the webhook';
      hook.answer = ({ event: e }) => (e.data.stage === bad ? { status: 422 } : {});
      const api = new Api(servers[0]);
      await api.put('/subscriptions/chain', { channel: 'photo:processing', ordered: 'photo', webhook: { url: hook.url, secret: SECRET } });
      const clients = await Promise.all(servers.map((server) => watching(t, server)));
      const [{ photoId }] = clients;
      await clients[1].asks('subscribe:photo', { photoId });

      const first = stage(photoId, 'first');
      const hidden = stage(photoId, 'internal');
      const poisoned = stage(photoId, 'poisoned', { result: 'x'.repeat(500) });
      const refused = stage(photoId, bad);
      const last = stage(photoId, 'last');
      await send(redis, first, hidden, poisoned, refused, last);

      const stamped = [first, refused, last].map((e) => ({ ...e, data: { ...e.data, bus: 'was here' } }));
      for (const client of clients) {
        await received(client, last);
        assert.deepEqual(client.bodies('processing.event'), stamped);
      }
      await hook.took([first, last]);
      assert.deepEqual(hook.requests.map((r) => r.event), stamped);
      for (const request of hook.requests) assertSigned(request, SECRET);
      const letters = await api.buried(2);
      const ours = ({ channel, subscription, reason, eventId, event: e, attempts }) => ({ channel, subscription, reason, eventId, e, attempts });
      assert.deepEqual(letters.map(ours).sort((a) => (a.subscription ? 1 : -1)), [
        { channel: 'photo:processing', subscription: undefined, reason: 'validation', eventId: poisoned.id, e: poisoned, attempts: 1 },
        { channel: 'photo:processing', subscription: 'chain', reason: 'permanent', eventId: refused.id, e: stamped[1], attempts: 1 },
      ]);
      assert.match(letters.find((l) => !l.subscription).error, /max_size: data: \d+ bytes, want at most 500/);
    });
  }
});

describe('a poisoned event', () => {
  const LIMIT = 20_000;
  const good = (photoId, progress) => stage(photoId, 'resize', { progress });
  const POISON = (photoId) => ({
    'no JSON': 'nonsense {',
    'no object': '[1,2]',
    'no data': JSON.stringify({ ...good(photoId, 0), data: 'text' }),
    'no UTF-8': Buffer.from([0x7b, 0x22, 0xff, 0xfe]),
    'too large': JSON.stringify(stage(photoId, 'x'.repeat(LIMIT))),
    'what a validator refuses': JSON.stringify(stage(photoId, 'resize', { title: '<script>alert(1)</script>' })),
  });

  for (const how of Object.keys(INPUTS)) {
    test(`ends in the dead letters, and its neighbours pass in order, ${how}`, async (t) => {
      const { redis, servers: [server] } = await replicas(t, 1, {
        performance: { maxEventSize: LIMIT },
        security: { eventValidation: { 'photo.processing.stage.completed': [{ name: 'clean', type: 'content', rules: [{ type: 'no_script' }] }] } },
      });
      const client = await watching(t, server);
      const { 'too large': large, ...others } = POISON(client.photoId);
      // A plain message that is too large is counted, and goes no further: its beginning would say nothing about it.
      const poison = Object.values(how === 'XADD' ? { ...others, large } : others);
      const raw = how === 'XADD' ? (text) => redis.client.xadd(PROCESSING, '*', 'event', text) : (text) => redis.client.publish('photo:processing', text);
      const sent = [];
      for (const text of poison) { // each between good ones
        sent.push(good(client.photoId, sent.length));
        await raw(JSON.stringify(sent.at(-1)));
        await raw(text);
      }
      sent.push(good(client.photoId, sent.length));
      await raw(JSON.stringify(sent.at(-1)));
      await received(client, sent.at(-1));
      assert.deepEqual(client.bodies('processing.event'), sent);
      const letters = await new Api(server).buried(poison.length);
      assert.equal(letters.length, poison.length);
      for (const [i, letter] of letters.entries()) {
        assert.equal(letter.reason, 'validation');
        assert.equal(letter.channel, 'photo:processing');
        assert.ok(letter.error, JSON.stringify(letter));
        if (i === 0) assert.equal(letter.event, poison[0]);
        if (i === 1) assert.deepEqual(letter.event, JSON.parse(poison[1]));
      }
      await raw(large);
      await until(async () => {
        const metrics = await server.metrics();
        return metrics.value('eventbus_event_errors_total', { channel: 'photo:processing' }) + metrics.value('eventbus_redis_oversized_total') === poison.length + 1;
      }, 'an error counted for each');
      await raw(poison[0]); // the same once more is the same letter
      const after = good(client.photoId, 99);
      await raw(JSON.stringify(after));
      await received(client, after);
      assert.equal((await new Api(server).letters()).length, poison.length);
    });
  }
});

describe('filters of the file, as browsers see them', () => {
  const on = (value) => [{ field: 'data.stage', operator: 'eq', value }];
  const FILTERS = [
    { id: 'no secrets', type: 'exclude', conditions: on('secret'), action: { type: 'drop' } },
    {
      id: 'keep', type: 'include', channels: ['photo:upload'], action: { type: 'drop' },
      conditions: [{ field: 'data.filename', operator: 'regex', value: '\\.jpe?g$' }, { field: 'data.size', operator: 'lt', value: 1000 }],
    },
    { id: 'spoken', type: 'exclude', expr: 'data.stage == "faces" && len(data.faces) > 3', action: { type: 'drop' } },
    {
      id: 'change', type: 'include', conditions: on('change'), action: {
        type: 'transform', params: {
          addFields: { 'checked.by': 'bus', priority: 1 },
          removeFields: ['secret', 'image.exif'],
          modifyFields: {
            'data.title': { type: 'append', value: ' (copy)' }, 'data.tags': { type: 'append', value: 'y' }, 'data.count': { type: 'append', value: 2 },
            'data.owner': { type: 'replace', value: { name: 'nobody' } }, 'metadata.version': { type: 'replace', value: '9.0' },
          },
        },
      },
    },
    { id: 'after it', type: 'exclude', conditions: [{ field: 'data.checked.by', operator: 'eq', value: 'bus' }, { field: 'data.then', operator: 'eq', value: 'drop' }], action: { type: 'drop' } },
    { id: 'alarm', type: 'include', conditions: on('alarm'), action: { type: 'route', params: { rules: [{ type: 'client', selector: 'metadata.clientId', eventName: 'alarm' }] } } },
    {
      id: 'private', type: 'include', conditions: on('private'), action: {
        type: 'route', params: { only: true, rules: [{ type: 'room', selector: 'data.friends', targetPrefix: 'user:', eventName: 'private' }] },
      },
    },
    { id: 'often', type: 'include', conditions: on('often'), action: { type: 'throttle', params: { groupBy: 'data.jobId', limit: 2, window: 60 } } },
    { id: 'seldom', type: 'include', conditions: on('seldom'), action: { type: 'throttle', params: { key: 'seldom', limit: 1, window: 1 } } },
  ].map((filter) => ({ ...filter, id: filter.id.replaceAll(' ', '-') }));

  let redis;
  let server;
  let config;

  before(async () => {
    config = new ConfigFile(undefined, { filters: FILTERS });
    redis = await RedisServer.start();
    server = await startServer(redis, { CONFIG_FILE: config.path });
  });

  after(async () => {
    await server?.stop();
    await redis?.remove();
    config?.remove();
  });

  for (const [how, send] of Object.entries(INPUTS)) {
    test(`drop: exclude, include, and by an expression, ${how}`, async (t) => {
      const client = await watching(t, server);
      const photoId = client.photoId;
      const kept = [stage(photoId, 'open'), stage(photoId, 'faces', { faces: [1, 2, 3] }), stage(photoId, 'faces', { faces: 4 })];
      const gone = [stage(photoId, 'secret'), stage(photoId, 'faces', { faces: [1, 2, 3, 4] })];
      assert.deepEqual(await passes(client, send, redis, kept[0], ...gone, ...kept.slice(1)), kept.map(as('processing.event')));

      const upload = (filename, size) => event('photo.uploaded', { photoId, userId: 'u', filename, size, mimeType: 'image/jpeg' }, { clientId: client.clientId });
      const [a, png, large, b] = [upload('a.jpg', 1), upload('a.png', 1), upload('b.jpg', 1000), upload('b.jpeg', 999)];
      await send(redis, a, png, large, b);
      await received(client, b);
      assert.deepEqual(shown(client, [a, png, large, b]), [a, b].map(as('upload.event')));
    });

    test(`transform: add, remove, append, replace; the chain goes on with what came of it, ${how}`, async (t) => {
      const client = await watching(t, server);
      const before = stage(client.photoId, 'change', {
        title: 'Zürich', tags: ['x'], count: 40, owner: 'somebody', secret: 's', image: { exif: { iso: 100 }, width: 6000 },
      });
      const { secret: removed, ...rest } = before.data;
      const want = {
        ...before,
        data: { ...rest, title: 'Zürich (copy)', tags: ['x', 'y'], count: 42, owner: { name: 'nobody' }, image: { width: 6000 }, checked: { by: 'bus' }, priority: 1 },
        metadata: { ...before.metadata, version: '9.0' },
      };
      assert.ok(removed);
      const dropped = stage(client.photoId, 'change', { then: 'drop' });
      assert.deepEqual(await passes(client, send, redis, dropped, before), [want].map(as('processing.event')));
    });

    test(`route: to further rooms, or only there, ${how}`, async (t) => {
      const client = await watching(t, server);
      const other = await watching(t, server);
      await other.asks('subscribe:photo', { photoId: client.photoId });
      const { clientId } = client;
      const alarm = stage(client.photoId, 'alarm', {}, { clientId });
      const secret = stage(client.photoId, 'private', { friends: [other.user, 'somebody else'] });
      const open = stage(client.photoId, 'open');
      const names = (seen) => seen.map(({ name, body }) => [name, body.data.stage]).sort();
      assert.deepEqual(names(await passes(client, send, redis, alarm, secret, open)), [['alarm', 'alarm'], ['processing.event', 'alarm'], ['processing.event', 'open']]);
      await received(other, open);
      assert.deepEqual(names(shown(other, [alarm, secret, open])), [['private', 'private'], ['processing.event', 'alarm'], ['processing.event', 'open']]);
    });

    test(`throttle: by group, over a sliding window, ${how}`, async (t) => {
      const client = await watching(t, server);
      const jobs = [randomUUID(), randomUUID()];
      const events = range(6).map((i) => stage(client.photoId, 'often', { jobId: jobs[i % 2] }));
      assert.deepEqual(await passes(client, send, redis, ...events), events.slice(0, 4).map(as('processing.event')));
      assert.deepEqual(await passes(client, send, redis, stage(client.photoId, 'often', { jobId: jobs[0] })), []);

      const seldom = () => stage(client.photoId, 'seldom');
      await until(async () => (await passes(client, send, redis, seldom())).length === 1, 'a first one'); // others may have been
      const begun = performance.now();
      assert.deepEqual(await passes(client, send, redis, seldom(), seldom()), []);
      await until(async () => (await passes(client, send, redis, seldom())).length === 1, 'another one after the window');
      assert.ok(performance.now() - begun > 700, `the window was ${performance.now() - begun} ms`); // of 1000, less what the first took to come
    });
  }

  test('tell what they did', async () => {
    const stats = (await server.metrics()).value('eventbus_events_filtered_total');
    assert.ok(stats > 0, `${stats} events filtered`);
  });
});

/** Clients of both servers that watch one photo. */
async function watchers(t, servers) {
  const clients = await Promise.all(servers.map((server) => watching(t, server)));
  for (const client of clients.slice(1)) {
    client.photoId = clients[0].photoId;
    await client.asks('subscribe:photo', { photoId: client.photoId });
  }
  return clients;
}

/** Events of one source on channels that different replicas lead: makers of them. */
async function byLeader(servers) {
  const makers = {
    'photo:processing': (photoId, source) => stage(photoId, 'resize', {}, { source }),
    'photo:completion': (photoId, source) => failure(photoId, { source }),
    'photo:upload': (photoId, source, clientId) => event('photo.deleted', { photoId }, { source, clientId }),
  };
  let two;
  await until(async () => {
    const led = await leaders(servers);
    const of = servers.map((_, i) => Object.keys(led).find((channel) => led[channel] === i));
    two = of.every(Boolean) && of;
    return two;
  }, 'both replicas to lead', 20_000);
  return two.map((channel) => makers[channel]);
}

describe('two replicas', () => {
  test('count a throttle together', async (t) => {
    const { redis, servers } = await replicas(t, 2, {
      filters: [{
        id: 'together', type: 'include', conditions: [{ field: 'metadata.source', operator: 'eq', value: 'many' }],
        action: { type: 'throttle', params: { key: 'together', limit: 5, window: 60 } },
      }],
    });
    const makers = await byLeader(servers);
    const client = await watching(t, servers[0]);
    const make = (maker, source) => maker(client.photoId, source, client.clientId);
    const batches = makers.map((maker) => [...range(10).map(() => make(maker, 'many')), make(maker, 'last')]);
    await Promise.all(batches.map((batch) => add(redis, ...batch)));
    for (const batch of batches) await received(client, batch.at(-1));
    const seen = shown(client, batches.flatMap((batch) => batch.slice(0, -1)));
    assert.equal(seen.length, 5, `of ${batches.map((batch) => shown(client, batch).length - 1)} by channel`);
  });

  test('filters of the API are in force on both within a second, and outlive them', async (t) => {
    const { redis, servers, config } = await replicas(t, 2);
    const makers = await byLeader(servers);
    let clients = await watchers(t, servers);
    const { photoId } = clients[0];
    const dropping = (source) => ({ type: 'exclude', conditions: [{ field: 'metadata.source', operator: 'eq', value: source }], action: { type: 'drop' } });

    /** Whether events of that source pass on the channels of each replica: [boolean, boolean]. */
    const pass = async (source) => Promise.all(makers.map(async (maker) => {
      const [asked, last] = [maker(photoId, source, clients[0].clientId), maker(photoId, 'nothing in particular', clients[0].clientId)];
      await add(redis, asked, last);
      await received(clients[0], last);
      return shown(clients[0], [asked]).length === 1;
    }));
    /** Once the change is made, it is soon so on both. */
    const comesTo = async (what, source, want, change = async () => {}) => {
      const begun = performance.now();
      await change();
      await until(async () => String(await pass(source)) === String(want), what, SOON_EVERYWHERE);
      const took = performance.now() - begun;
      t.diagnostic(`${what}: after ${Math.round(took)} ms`);
      assert.ok(took < SOON_EVERYWHERE, `${what} took ${took} ms`);
    };

    assert.deepEqual(await pass('a'), [true, true]);
    await comesTo('a filter in force', 'a', [false, false], async () => {
      const answer = await new Api(servers[0]).ask('PUT', '/filters/f', dropping('a'));
      assert.deepEqual([answer.status, answer.body.source], [201, 'api']);
    });
    assert.deepEqual(await pass('b'), [true, true]);
    await comesTo('a change in force', 'b', [false, false], async () => {
      const answer = await new Api(servers[1]).ask('PUT', '/filters/f', dropping('b'));
      assert.deepEqual([answer.status, answer.body.spec.conditions[0].value], [200, 'b']);
    });
    assert.deepEqual(await pass('a'), [true, true]);
    for (const server of servers) assert.equal((await new Api(server).filters()).f.conditions[0].value, 'b');

    clients.forEach((client) => client.close());
    await Promise.all(servers.map((server) => server.stop()));
    const [away, good] = [makers[0](photoId, 'b', 'c'), makers[0](photoId, 'good', 'c')];
    await add(redis, away, good);
    const later = await Promise.all(range(2).map(() => startServer(redis, { CONFIG_FILE: config.path })));
    later.forEach((server) => cleanup(t, () => server.stop()));
    servers.splice(0, 2, ...later);
    clients = await Promise.all(servers.map((server) => Client.identified(t, server)));
    for (const client of clients) await client.asks('subscribe:photo', { photoId });
    assert.deepEqual(await pass('b'), [false, false], 'from the start');
    const log = (await redis.client.xrange('socket.io', '-', '+')).flat(2).join('\n');
    assert.ok(log.includes(good.id) && !log.includes(away.id), 'what came while they were away was filtered, too');
    await comesTo('no filter', 'b', [true, true], () => new Api(servers[0]).delete('/filters/f'));
    for (const server of servers) assert.deepEqual(await new Api(server).filters(), {});
  });

  test('rules are replaced on both at run time, and outlive them', async (t) => {
    const { redis, servers, config } = await replicas(t, 2);
    const [client] = await watchers(t, servers);
    const api = new Api(servers[0]);
    const { rules, source } = await api.get('/rules');
    assert.equal(source, 'configuration');
    const other = {
      ...rules,
      'photo:processing': [
        { type: 'multi', rules: [{ type: 'room', selector: 'data.photoId', targetPrefix: 'photo:', eventName: 'other.event' }, { type: 'client', selector: 'metadata.clientIds', eventName: 'yours' }] },
        { type: 'broadcast', selector: 'data.everybody', eventName: 'news' },
      ],
    };
    /** Under which names the client has an event. */
    const names = async () => {
      const one = stage(client.photoId, 'resize', { everybody: 'yes' }, { clientIds: ['x', client.clientId] });
      return (await passes(client, add, redis, one)).map(({ name }) => name).sort().join();
    };
    const comesTo = (want) => until(async () => await names() === want, `the rules that make ${want}`, SOON_EVERYWHERE);
    assert.equal(await names(), 'processing.event');
    assert.equal((await api.put('/rules', { rules: other })).source, 'api');
    await comesTo('news,other.event,yours');
    const stranger = await Client.connect(t, servers[1]);
    await names();
    await stranger.received('news', 1);
    assert.deepEqual(stranger.inbox.map(({ name }) => name), ['news']);

    await Promise.all(servers.map((server) => server.stop()));
    const next = await startServer(redis, { CONFIG_FILE: config.path, WEBSOCKET_PORT: servers[0].port });
    cleanup(t, () => next.stop());
    await until(() => client.socket.connected, 'the client to be back');
    assert.equal(await names(), 'news,other.event,yours', 'from the start');
    await new Api(next).delete('/rules');
    await comesTo('processing.event');
    assert.deepEqual(await new Api(next).get('/rules'), { source: 'configuration', rules });
  });
});

test('who declares something finds it in force when the answer is there', async (t) => {
  const { redis, servers: [server] } = await replicas(t, 1);
  const client = await watching(t, server);
  const api = new Api(server);
  const { rules } = await api.get('/rules');
  for (const n of range(10)) {
    const name = `stage-${n}`;
    const seen = async () => (await passes(client, add, redis, stage(client.photoId, name))).map((e) => e.name);
    await api.put('/filters/f', { type: 'exclude', conditions: [{ field: 'data.stage', operator: 'eq', value: name }], action: { type: 'drop' } });
    assert.deepEqual(await seen(), []);
    await api.delete('/filters/f');
    assert.deepEqual(await seen(), ['processing.event']);
    await api.put('/rules', { rules: { ...rules, 'photo:processing': [{ type: 'broadcast', eventName: name }] } });
    assert.deepEqual(await seen(), [name]);
    await api.delete('/rules');
    await api.put('/filters', { filters: [{ id: 'a', type: 'include', conditions: [{ field: 'data.stage', operator: 'ne', value: name }], action: { type: 'drop' } }] });
    assert.deepEqual(await seen(), []);
    await api.put('/filters', { filters: [] });
    assert.deepEqual(await seen(), ['processing.event']);
  }
});

describe('events published through the API', () => {
  test('go through the outbound filters, those from Redis do not', async (t) => {
    const on = (value) => [{ field: 'data.stage', operator: 'eq', value }];
    const { redis, servers: [server] } = await replicas(t, 1, {
      filters: [
        { id: 'out', type: 'exclude', direction: 'outbound', conditions: on('dropped'), action: { type: 'drop' } },
        { id: 'mark', type: 'include', direction: 'outbound', conditions: on('marked'), action: { type: 'transform', params: { addFields: { out: true } } } },
        { id: 'in', type: 'exclude', direction: 'inbound', conditions: on('inbound'), action: { type: 'drop' } },
      ],
    });
    const client = await watching(t, server);
    const api = new Api(server);
    const [dropped, marked, inbound, same] = ['dropped', 'marked', 'inbound', 'dropped'].map((name) => stage(client.photoId, name));
    assert.deepEqual(await api.post('/events', dropped), { id: dropped.id, channel: 'photo:processing', status: 'dropped', filter: 'out' });
    assert.equal((await api.post('/events', marked)).status, 'accepted');
    const { results } = await api.post('/events/batch', { events: [dropped, inbound, same].map((e) => ({ event: e })) });
    assert.deepEqual(results.map(({ status }) => status), ['dropped', 'accepted', 'dropped']);
    await received(client, marked);
    const changed = { ...marked, data: { ...marked.data, out: true } };
    const here = stage(client.photoId, 'dropped');
    assert.deepEqual(await passes(client, add, redis, here), [here].map(as('processing.event')));
    assert.deepEqual(shown(client, [dropped, marked, inbound, same]), [changed].map(as('processing.event')));
  });
});

describe('what cannot be is refused, and the running set stays', () => {
  const drop = { type: 'exclude', conditions: [{ field: 'data.stage', operator: 'eq', value: 'x' }], action: { type: 'drop' } };
  const condition = (c) => ({ ...drop, conditions: [c] });
  const throttle = (params) => ({ ...drop, action: { type: 'throttle', params } });
  const CASES = [ // what, method, path, body, status, field
    ['an unknown type', 'PUT', '/filters/x', { ...drop, type: 'maybe' }, 422, 'type'],
    ['an unknown operator', 'PUT', '/filters/x', condition({ field: 'data.a', operator: 'like', value: 1 }), 422, 'conditions[0].operator'],
    ['a bad regular expression', 'PUT', '/filters/x', condition({ field: 'data.a', operator: 'regex', value: '(' }), 422, 'conditions[0].value'],
    ['a back reference, which RE2 has not', 'PUT', '/filters/x', condition({ field: 'data.a', operator: 'regex', value: '(a)\\1' }), 422, 'conditions[0].value'],
    ['a path that cannot exist', 'PUT', '/filters/x', condition({ field: 'dat.a', operator: 'eq', value: 1 }), 422, 'conditions[0].field'],
    ['no value', 'PUT', '/filters/x', condition({ field: 'data.a', operator: 'eq' }), 422, 'conditions[0].value'],
    ['an expression that does not compile', 'PUT', '/filters/x', { ...drop, expr: 'data.a >' }, 422, 'expr'],
    ['an expression that is no condition', 'PUT', '/filters/x', { ...drop, expr: '"text"' }, 422, 'expr'],
    ['a negative limit', 'PUT', '/filters/x', throttle({ limit: -1, window: 1 }), 422, 'action.params.limit'],
    ['no window', 'PUT', '/filters/x', throttle({ limit: 1 }), 422, 'action.params.window'],
    ['an unknown action', 'PUT', '/filters/x', { ...drop, action: { type: 'explode' } }, 422, 'action.type'],
    ['a transform that changes nothing', 'PUT', '/filters/x', { ...drop, action: { type: 'transform' } }, 422, 'action.params'],
    ['an unknown channel', 'PUT', '/filters/x', { ...drop, channels: ['photo:upload', 'nowhere'] }, 422, 'channels[1]'],
    ['an unknown member', 'PUT', '/filters/x', { ...drop, colour: 'red' }, 422, /colour/],
    ['another id', 'PUT', '/filters/x', { ...drop, id: 'y' }, 400, 'id'],
    ['the id of one in the file', 'PUT', '/filters/configured', drop, 409, /configuration/],
    ['to remove one of the file', 'DELETE', '/filters/configured', undefined, 409, /configuration/],
    ['to remove what is not there', 'DELETE', '/filters/nothing', undefined, 404, /no such/],
    ['an id twice', 'PUT', '/filters', { filters: [{ ...drop, id: 'a' }, { ...drop, id: 'a' }] }, 422, 'filters[1].id'],
    ['one of many', 'PUT', '/filters', { filters: [{ ...drop, id: 'a' }, { ...drop, id: 'b', type: 'z' }] }, 422, 'filters[1].type'],
    ['the id of one in the file, of many', 'PUT', '/filters', { filters: [{ ...drop, id: 'configured' }] }, 409, /configuration/],
    ['a rule of an unknown type', 'PUT', '/rules', { rules: { 'photo:upload': [{ type: 'shout' }], 'photo:processing': [], 'photo:completion': [] } }, 422, 'photo:upload[0].type'],
    ['a rule without a selector', 'PUT', '/rules', { rules: { 'photo:upload': [{ type: 'room' }], 'photo:processing': [], 'photo:completion': [] } }, 422, 'photo:upload[0].selector'],
    ['rules of other channels', 'PUT', '/rules', { rules: { elsewhere: [] } }, 422, /rules/],
    ['a webhook of an unknown channel', 'PUT', '/subscriptions/x', { channel: 'nowhere', webhook: { url: 'https://example.com/' } }, 422, 'channel'],
    ['a webhook without a URL', 'PUT', '/subscriptions/x', { channel: 'photo:upload', webhook: { url: 'nix' } }, 422, 'webhook.url'],
    ['a webhook with a bad filter', 'PUT', '/subscriptions/x', { channel: 'photo:upload', webhook: { url: 'https://example.com/' }, filter: { expr: ')' } }, 422, /filter/],
    ['a webhook with a short secret', 'PUT', '/subscriptions/x', { channel: 'photo:upload', webhook: { url: 'https://example.com/', secret: 'short' } }, 422, 'webhook.secret'],
    ['a negative number of workers', 'PUT', '/subscriptions/x', { channel: 'photo:upload', webhook: { url: 'https://example.com/' }, concurrency: -1 }, 422, 'concurrency'],
    ['a private address', 'PUT', '/subscriptions/x', { channel: 'photo:upload', webhook: { url: 'https://127.0.0.1/' } }, 422, 'webhook.url'],
  ];

  let redis;
  let server;
  let config;

  before(async () => {
    config = new ConfigFile(undefined, { filters: [{ id: 'configured', ...drop }] });
    redis = await RedisServer.start();
    server = await startServer(redis, { CONFIG_FILE: config.path });
    await new Api(server).put('/filters/running', condition({ field: 'data.stage', operator: 'eq', value: 'y' }));
  });

  after(async () => {
    await server?.stop();
    await redis?.remove();
    config?.remove();
  });

  const running = async (api) => {
    const { subscriptions } = await api.get('/subscriptions');
    return { filters: await api.get('/filters'), rules: await api.get('/rules'), subscriptions };
  };

  for (const [what, method, path, body, status, field] of CASES) {
    test(what, async () => {
      const api = new Api(server);
      const was = await running(api);
      const answer = await api.ask(method, path, body);
      assert.equal(answer.status, status, JSON.stringify(answer.body));
      assert.match(answer.headers.get('content-type'), /^application\/problem\+json/);
      if (field instanceof RegExp) assert.match(JSON.stringify(answer.body), field);
      else assert.ok(answer.body.errors?.some((e) => e.field === field), JSON.stringify(answer.body));
      assert.deepEqual(await running(api), was);
    });
  }

  test('and those that ran, run', async (t) => {
    const client = await watching(t, server);
    const [x, y, z] = ['x', 'y', 'z'].map((name) => stage(client.photoId, name));
    assert.deepEqual(await passes(client, add, redis, x, y, z), [z].map(as('processing.event')));
  });

  test('nobody but an admin may ask', async () => {
    const nobody = new Api(server, { userId: 'nobody', permissions: ['event_bus:publish:*', 'photo:read:*'] });
    for (const [method, path, body] of [['GET', '/filters'], ['PUT', '/filters/z', drop], ['PUT', '/rules', { rules: {} }], ['POST', '/subscriptions', { channel: 'photo:upload', webhook: { url: 'https://hook.example/' } }], ['GET', '/dead-letters']]) {
      assert.equal((await nobody.ask(method, path, body)).status, 403, `${method} ${path}`);
    }
  });
});

describe('event types', () => {
  test('of the file are held against their schemas, by version; unknown ones are refused if so said', async (t) => {
    const schema = (data) => ({ type: 'object', properties: { data: { type: 'object', ...data } } });
    const { redis, servers: [server] } = await replicas(t, 1, {
      events: {
        unknown: 'refuse',
        types: [
          { name: 'photo.printed', channel: 'photo:completion', schema: schema({ required: ['photoId', 'copies'], properties: { copies: { type: 'integer', minimum: 1 } } }) },
          { name: 'photo.printed', version: '2', schema: schema({ required: ['photoId', 'paper'] }) },
        ],
      },
    });
    const client = await watching(t, server);
    const printed = (data, version = '1.0') => event('photo.printed', { photoId: client.photoId, ...data }, { version });
    const good = [printed({ copies: 2 }), printed({ paper: 'matt' }, '2.7')];
    const bad = [printed({ copies: 0 }), printed({ copies: 2 }, '2.0'), event('photo.framed', { photoId: client.photoId })];
    for (const e of [good[0], ...bad, good[1]]) await redis.client.xadd('eventbus:in:photo:completion', '*', 'event', JSON.stringify(e));
    await received(client, good[1]);
    assert.deepEqual(shown(client, [...good, ...bad]), good.map(as('completion.event')));
    const api = new Api(server);
    const letters = await api.buried(3);
    assert.deepEqual(letters.map((l) => l.eventId), bad.map((e) => e.id));
    assert.match(letters[0].error, /data\.copies/);
    assert.match(letters[1].error, /data\.paper/);
    assert.match(letters[2].error, /photo\.framed/);

    const posted = printed({ copies: 1 });
    assert.equal((await api.post('/events', posted)).channel, 'photo:completion');
    await received(client, posted);
    const refused = await api.ask('POST', '/events', printed({ copies: 0 }));
    assert.equal(refused.status, 422, JSON.stringify(refused.body));
    assert.match(JSON.stringify(refused.body), /data\.copies/);
  });

  for (const [how, send] of Object.entries(INPUTS)) {
    test(`CloudEvents come in as events, ${how}`, async (t) => {
      const { redis, servers: [server] } = await replicas(t, 1);
      const client = await watching(t, server);
      const data = { photoId: client.photoId, jobId: 'j', stage: 'resize', progress: 5 };
      const time = '2026-01-31T12:00:00.000Z';
      const cloud = {
        specversion: '1.0', id: randomUUID(), source: 'pipeline', type: 'photo.processing.stage.completed', time, datacontenttype: 'application/json',
        traceid: 'trace', clientid: 'c', data,
      };
      const [{ name, body }] = await passes(client, send, redis, cloud);
      assert.equal(name, 'processing.event');
      assert.deepEqual({ ...body, datacontenttype: undefined }, {
        id: cloud.id, type: cloud.type, data, metadata: { source: 'pipeline', traceId: 'trace', clientId: 'c', version: '1.0' }, timestamp: time, datacontenttype: undefined,
      });
    });
  }
});

describe('validators', () => {
  test('at the bus: schema, content, rate limit; for publishers: permission, and a limit for each user', async (t) => {
    const { redis, servers } = await replicas(t, 2, {
      security: {
        eventValidation: {
          'photo.processing.stage.completed': [
            { name: 'fits', type: 'schema' },
            { name: 'clean', type: 'content', rules: [{ type: 'no_script' }, { type: 'max_size', value: 400 }, { type: 'allowed_fields', value: ['photoId', 'jobId', 'stage', 'result', 'progress', 'title'] }] },
          ],
          'photo.processing.failed': [{ name: 'few', type: 'rate_limit', config: { key: 'few:{eventType}', window: 60, limit: 3 } }],
          'photo.deleted': [
            { name: 'may', type: 'permission', permission: 'photos:delete' },
            { name: 'each', type: 'rate_limit', config: { key: 'delete:{userId}', window: 60, limit: 2 } },
          ],
        },
      },
    });
    const client = await watching(t, servers[0]);
    const { photoId, clientId } = client;
    const good = [stage(photoId, 'a', { title: 'x < y' }), stage(photoId, 'b')];
    const bad = [
      stage(photoId, 'c', { progress: 101 }), stage(photoId, 'd', { title: '<SCRIPT>' }), stage(photoId, 'e', { title: 'x'.repeat(400) }), stage(photoId, 'f', { other: 1 }),
    ];
    assert.deepEqual(await passes(client, add, redis, good[0], ...bad, good[1]), good.map(as('processing.event')));
    const failures = range(5).map(() => failure(photoId));
    const done = event('batch.processing.completed', { batchId: 'b', photoIds: [photoId], total: 1, successful: 1, failed: 0 }, { clientId });
    await add(redis, ...failures, done);
    await received(client, done);
    assert.deepEqual(shown(client, failures).map(({ body }) => body.id), failures.slice(0, 3).map((e) => e.id));
    const letters = await new Api(servers[1]).buried(6);
    assert.deepEqual(letters.map((l) => l.eventId).sort(), [...bad, ...failures.slice(3)].map((e) => e.id).sort());
    const of = (e) => letters.find((l) => l.eventId === e.id).error;
    [/fits.*data\.progress/, /clean.*no_script.*data\.title/, /clean.*max_size/, /clean.*allowed_fields.*data\.other/].forEach((want, i) => assert.match(of(bad[i]), want));
    assert.match(of(failures[3]), /rate limit/);

    // Who publishes to Redis, nobody knows: permissions are asked of who publishes through the bus.
    const gone = () => event('photo.deleted', { photoId }, { clientId });
    const direct = range(4).map(gone);
    await add(redis, ...direct);
    await received(client, direct[3]);
    const publisher = (userId, permissions) => servers.map((server) => new Api(server, { userId, permissions: ['event_bus:publish:*', ...permissions] }));
    const [stranger] = publisher('stranger', []);
    const denied = await stranger.ask('POST', '/events', gone());
    assert.equal(denied.status, 403, JSON.stringify(denied.body));
    assert.match(denied.body.detail, /photos:delete/);
    const alice = publisher('alice', ['photos:delete']);
    const bob = publisher('bob', ['photos:delete']);
    const statuses = async (...apis) => {
      const all = [];
      for (const api of apis) all.push((await api.ask('POST', '/events', gone())).status);
      return all;
    };
    assert.deepEqual(await statuses(alice[0], alice[1], alice[0], alice[1]), [202, 202, 429, 429], 'on both replicas together');
    assert.deepEqual(await statuses(bob[1], bob[1], bob[0]), [202, 202, 429]);
  });
});

describe('SIGHUP', () => {
  test('has the file read again; a broken one changes nothing and is told', async (t) => {
    const dropping = (value) => ({ id: 'f', type: 'exclude', conditions: [{ field: 'data.stage', operator: 'eq', value }], action: { type: 'drop' } });
    const { redis, servers: [server], config } = await replicas(t, 1, { filters: [dropping('a')] });
    const client = await watching(t, server);
    const api = new Api(server);
    const passing = async () => {
      const events = ['a', 'b'].map((name) => stage(client.photoId, name));
      return (await passes(client, add, redis, ...events)).map(({ body }) => body.data.stage);
    };
    const log = () => server.program.stderr.split('\n').filter(Boolean).map((line) => JSON.parse(line));
    const told = async (msg) => {
      const from = log().length;
      server.signal('SIGHUP');
      let line;
      await until(() => { line = log().slice(from).find((l) => l.msg === msg); return line; }, () => `the message ${msg}\n${server.program.stderr}`);
      return line;
    };
    assert.deepEqual(await passing(), ['b']);
    config.write({ filters: [dropping('b')], monitoring: { logging: { level: 'warn' } } });
    server.signal('SIGHUP'); // of which it says nothing, at that level
    await until(async () => (await api.filters()).f.conditions[0].value === 'b', 'the new filter');
    assert.deepEqual(await passing(), ['a']);

    config.write({ filters: [{ ...dropping('a'), conditions: [{ field: 'nowhere', operator: 'eq', value: 1 }] }], securty: {} });
    assert.match(JSON.stringify(await told('the configuration is not taken over, nothing has changed')), /securty/);
    config.write({ filters: [{ ...dropping('a'), conditions: [{ field: 'nowhere', operator: 'eq', value: 1 }] }] });
    assert.match((await told('the configuration is not taken over, nothing has changed')).error, /filters\[0\]\.conditions\[0\]\.field/);
    config.write('filters: [');
    await told('the configuration is not taken over, nothing has changed');
    assert.deepEqual(await passing(), ['a']);

    config.write({ filters: [dropping('c')], websocket: { pingInterval: '7s' } });
    const warning = await told('some settings have changed that need a restart');
    assert.deepEqual(warning.settings, ['ping-interval']);
    assert.deepEqual(await passing(), ['a', 'b']);
  });
});
