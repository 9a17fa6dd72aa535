// The npm package in publisher/node, as it is packed, with every Redis client it is for.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { inspect, promisify } from 'node:util';
import Redis from 'ioredis';
import * as redis4 from 'redis-4';
import * as redis5 from 'redis-5';
import * as redis6 from 'redis';
import { until } from './lib/await.mjs';
import { cleanup } from './lib/cleanup.mjs';
import { Client } from './lib/client.mjs';
import { range } from './lib/events.mjs';
import { freePort, RedisServer } from './lib/redis.mjs';
import { startServer } from './lib/server.mjs';
import { unique } from './lib/tokens.mjs';
import { RedisCluster } from './lib/topology.mjs';
import { watching } from './lib/watching.mjs';

const run = promisify(execFile);
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const UPLOAD = 'eventbus:in:photo:upload';

let app; // a program's directory, with the package in its node_modules
let bus; // the package
let redis;
const scratch = mkdtempSync(join(tmpdir(), 'eventbus-publisher-'));
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));

before(async () => {
  app = join(scratch, 'app');
  const target = join(app, 'node_modules/@photo-management/event-bus');
  mkdirSync(target, { recursive: true });
  const { stdout } = await run('npm', ['pack', '--silent', '--pack-destination', scratch], { cwd: here('../publisher/node') });
  await run('tar', ['xzf', join(scratch, stdout.trim()), '-C', target, '--strip-components=1']);
  // Linked, so that what they need themselves is found beside where they are.
  for (const name of ['ajv', 'typescript']) symlinkSync(here(`types/node_modules/${name}`), join(app, 'node_modules', name));
  for (const name of ['ioredis', 'redis', 'redis-4', 'redis-5', '@types']) symlinkSync(here(`node_modules/${name}`), join(app, 'node_modules', name));
  bus = createRequire(join(app, 'program.js'))('@photo-management/event-bus');
  redis = await RedisServer.start();
});

after(() => redis?.remove());

/** Each makes a client for a port; options are the library's own. */
const LIBRARIES = {
  ioredis: (port, options) => new Redis({ port, retryStrategy: () => 20, ...options }),
  'redis 4': (port, options) => nodeRedis(redis4, port, options),
  'redis 5': (port, options) => nodeRedis(redis5, port, options),
  'redis 6': (port, options) => nodeRedis(redis6, port, options),
};

function nodeRedis({ createClient }, port, options) {
  const client = createClient({ ...options, socket: { host: '127.0.0.1', port, reconnectStrategy: () => 20 } });
  client.on('error', () => {}); // before it connects
  client.connect().catch(() => {});
  return client;
}

/** A client of a library, on a RedisServer; it need not be connected yet. */
function connect(t, library, { port } = redis, options) {
  const client = LIBRARIES[library](port, options);
  client.on('error', () => {}); // the command that fails tells
  cleanup(t, async () => {
    try {
      await client.disconnect();
    } catch {
      // it is not connected
    }
  });
  return client;
}

/** A publisher with a client of its own. */
function publisher(t, library, server, options, clientOptions) {
  const p = new bus.Publisher(connect(t, library, server, clientOptions), { source: 'test', ...options });
  cleanup(t, () => p.close({ timeout: 0 }));
  return p;
}

async function own(t, options) {
  const server = await RedisServer.start(options);
  cleanup(t, () => server.remove());
  return server;
}

function deleted(photoId = 'p') {
  return bus.createEvent('photo.deleted', { photoId }, { source: 'test' });
}

function started(photoId = 'p') {
  return bus.createEvent('photo.processing.started', { photoId, jobId: 'j', stages: [] }, { source: 'test' });
}

/** The events in a stream, as they are there. */
async function entries({ client }, stream = UPLOAD) {
  const all = await client.xrange(stream, '-', '+');
  return all.map(([, fields]) => {
    assert.equal(fields.length, 2);
    assert.equal(fields[0], 'event');
    return JSON.parse(fields[1]);
  });
}

/** Each id once, in the order of the first time. */
function firsts(events) {
  return [...new Set(events.map((e) => e.id))];
}

function ids(events) {
  return events.map((e) => e.id);
}

function outcomes(results) {
  return results.map((result) => (result.ok ? 'ok' : result.error.code));
}

/** How often Redis has done a command, or refused to. */
async function calls({ client }, command, what = 'calls') {
  return Number((await client.info('commandstats')).match(new RegExp(`cmdstat_${command}:.*\\b${what}=(\\d+)`))?.[1] ?? 0);
}

/** What is published on a channel, as it comes. */
async function listen(t, server, channel) {
  const subscriber = new Redis(server.port);
  cleanup(t, () => subscriber.disconnect());
  const heard = [];
  subscriber.on('message', (_, text) => heard.push(JSON.parse(text)));
  await subscriber.subscribe(channel);
  return heard;
}

describe('the package', () => {
  test('has what a program needs, and no more', () => {
    const files = readdirSync(join(app, 'node_modules/@photo-management/event-bus'));
    assert.deepEqual(files.sort(), [
      'LICENSE', 'README.md', 'events.d.ts', 'index.cjs', 'index.d.mts', 'index.d.ts', 'index.mjs', 'lib', 'package.json', 'schemas.json',
    ]);
  });

  test('is the same for import and require', async () => {
    writeFileSync(join(app, 'both.mjs'), [
      'import * as imported from "@photo-management/event-bus";',
      'import { createRequire } from "node:module";',
      'export const required = createRequire(import.meta.url)("@photo-management/event-bus");',
      'export { imported };',
    ].join('\n'));
    const { imported, required } = await import(pathToFileURL(join(app, 'both.mjs')));
    assert.deepEqual(Object.keys(imported).sort(), Object.keys(required).sort());
    for (const [name, value] of Object.entries(required)) assert.equal(imported[name], value, name);
    writeFileSync(join(app, 'main.cjs'), 'const { Publisher } = require("@photo-management/event-bus"); console.log(typeof Publisher);');
    assert.equal((await run(process.execPath, [join(app, 'main.cjs')])).stdout, 'function\n');
  });

  test('its types: a program compiles, and its mistakes do not', async () => {
    for (const kind of ['mts', 'cts']) cpSync(here('../publisher/node/types.test-d.ts'), join(app, `sample.${kind}`));
    for (const [module, more] of [['NodeNext', []], ['ESNext', ['--moduleResolution', 'bundler']]]) {
      const files = module === 'NodeNext' ? ['sample.mts', 'sample.cts'] : ['sample.mts'];
      const options = ['--strict', '--exactOptionalPropertyTypes', '--noUncheckedIndexedAccess', '--noEmit', '--skipLibCheck', '--target', 'ES2022', '--types', 'node', '--module', module, ...more];
      await assert.doesNotReject(run(process.execPath, ['node_modules/typescript/bin/tsc', ...options, ...files], { cwd: app })
        .catch((error) => { throw new Error(error.stdout || error.message); }));
    }
  });

  test('the examples in its README run', async (t) => {
    const readme = readFileSync(here('../publisher/node/README.md'), 'utf8');
    const examples = [...readme.matchAll(/```js\n([^]*?)```/g)].map(([, code]) => code);
    assert.ok(examples.length >= 3);
    const server = await own(t);
    for (const [i, code] of examples.entries()) {
      const name = join(app, `example-${i}.${code.includes('require(') ? 'cjs' : 'mjs'}`);
      writeFileSync(name, code.replaceAll('redis://localhost:6379', `redis://127.0.0.1:${server.port}`));
      await run(process.execPath, [name], { cwd: app, timeout: 20_000 });
    }
    assert.ok((await entries(server)).length > 0);
  });
});

describe('making an event', () => {
  test('with a UUIDv7 that sorts by time', () => {
    const events = range(10_000).map(() => deleted());
    const before = Date.now();
    for (const { id } of events) assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    assert.deepEqual(ids(events).sort(), ids(events));
    assert.equal(new Set(ids(events)).size, events.length);
    const time = parseInt(events[0].id.replace('-', '').slice(0, 12), 16);
    assert.ok(Math.abs(before - time) < 10_000);
  });

  test('with what was given, and the rest', (t) => {
    const event = bus.createEvent('photo.deleted', { photoId: 'p' }, { source: 's', traceparent: '00-1-2-01', version: '1.1' });
    assert.deepEqual(event.metadata, { source: 's', traceparent: '00-1-2-01', version: '1.1' });
    assert.equal(new Date(event.timestamp).toISOString(), event.timestamp);
    assert.equal(bus.createEvent('photo.deleted', { photoId: 'p' }, { source: 's' }).metadata.version, '1.0');
    const p = publisher(t, 'ioredis', redis, { source: 'uploads' });
    assert.deepEqual(p.createEvent('photo.deleted', { photoId: 'p' }, { clientId: 'c', version: undefined, source: undefined }).metadata,
      { version: '1.0', source: 'uploads', clientId: 'c' });
    assert.equal(p.createEvent('photo.deleted', { photoId: 'p' }, { source: 'other' }).metadata.source, 'other');
  });

  test('with a channel', () => {
    assert.equal(bus.channelOf('photo.processing.failed'), 'photo:completion');
    assert.equal(bus.channelOf('photo.printed'), undefined);
    assert.equal(bus.channelOf('constructor'), undefined);
  });
});

describe('what is refused before it is sent', () => {
  const nested = (depth) => range(depth).reduce((inner) => [inner], 1);
  const at = (change) => (event) => ({ ...event, ...change });
  const data = (more) => at({ data: { photoId: 'p', ...more } });
  const CASES = [
    ['nothing', () => undefined, { '': 'want object, got undefined' }],
    ['null', () => null, { '': 'want object, got null' }],
    ['a list', (event) => [event], { '': 'want object, got array' }],
    ['text', (event) => JSON.stringify(event), { '': 'want object, got string' }],
    ['an empty object', () => ({}), {
      id: 'missing, want string', type: 'missing, want string', data: 'missing, want object', metadata: 'missing, want object', timestamp: 'missing, want string',
    }],
    ['a wrong id', at({ id: 5 }), { id: 'want string, got number' }],
    ['an empty id', at({ id: '' }), { id: 'want a non-empty string' }],
    ['a long id', at({ id: 'x'.repeat(257) }), { id: 'want at most 256 characters' }],
    ['an id of many bytes', at({ id: 'ä'.repeat(200) }), { id: 'want a non-empty string of at most 256 bytes' }],
    ['an unknown type', at({ type: 'photo.lost' }), { type: /^unknown "photo\.lost", want one of .*photo\.deleted/ }],
    ['an inherited type', at({ type: 'toString' }), { type: /^unknown "toString"/ }],
    ['no photoId', at({ data: {} }), { 'data.photoId': 'missing, want string' }],
    ['a photoId that JSON leaves out', data({ photoId: undefined }), { 'data.photoId': 'missing, want string' }],
    ['an empty photoId', data({ photoId: '' }), { 'data.photoId': 'want a non-empty string' }],
    ['two mistakes', data({ photoId: null, userId: 1 }), { 'data.photoId': 'want string, got null', 'data.userId': 'want string, got number' }],
    ['no source', at({ metadata: { version: '1.0' } }), { 'metadata.source': 'missing, want string' }],
    ['a wrong traceparent', at({ metadata: { source: 's', version: '1.0', traceparent: {} } }), { 'metadata.traceparent': 'want string, got object' }],
    ...['today', '2026-01-31 12:00:00Z', '2026-02-29T12:00:00Z', '2026-01-31T24:00:00Z', '2026-01-31T12:00:00', '2026-01-31T12:00:60Z', '2026-01-31T12:00:00+24:00'].map((timestamp) => [
      `the timestamp ${timestamp}`, at({ timestamp }), { timestamp: 'want a date-time as in RFC 3339, such as 2026-01-31T12:00:00.000Z' },
    ]),
    ['too deep', data({ more: nested(127) }), { '': 'want at most 128 levels of nesting' }],
    ['a progress too high', () => bus.createEvent('photo.processing.stage.completed', { photoId: 'p', jobId: 'j', stage: 's', progress: 101 }, { source: 's' }), { 'data.progress': 'want at most 100' }],
    ['a progress that is NaN', () => bus.createEvent('photo.processing.stage.completed', { photoId: 'p', jobId: 'j', stage: 's', progress: NaN }, { source: 's' }), { 'data.progress': 'want number, got null' }],
    ['a size that is no integer', () => bus.createEvent('photo.uploaded', { photoId: 'p', userId: 'u', filename: '', size: 0.5, mimeType: '' }, { source: 's' }), { 'data.size': 'want integer, got number' }],
    ['a list with mistakes', () => bus.createEvent('photo.processing.started', { photoId: 'p', jobId: 'j', stages: ['a', 5] }, { source: 's' }), { 'data.stages.1': 'want string, got number' }],
    ['a bigint', data({ more: 5n }), { '': /^want what JSON can say: .*BigInt/ }],
    ['a circle', (event) => { event.data.self = event; return event; }, { '': /^want what JSON can say: .*circular/i }],
  ];
  for (const [name, change, want] of CASES) {
    test(name, async (t) => {
      const server = redis;
      const p = publisher(t, 'ioredis', server, { durable: true });
      const channel = unique('refused');
      const event = change(deleted());
      const [result, good] = await p.publishBatch([event, deleted()], { channel });
      assert.equal(good.ok, true);
      assert.ok(result.error instanceof bus.EventInvalidError);
      assert.ok(result.error instanceof bus.PublishError);
      assert.equal(result.error.code, 'EVENT_INVALID');
      assert.deepEqual(result.error.problems.map((problem) => problem.field).sort(), Object.keys(want).sort());
      for (const { field, message } of result.error.problems) {
        if (want[field] instanceof RegExp) assert.match(message, want[field]);
        else assert.equal(message, want[field]);
        assert.ok(result.error.message.includes(message));
      }
      assert.throws(() => bus.validate(event), (error) => error.message === result.error.message);
      await assert.rejects(p.publish(event, { channel }), { code: 'EVENT_INVALID' });
      assert.equal(await server.client.xlen(`eventbus:in:${channel}`), 1);
    });
  }

  test('what is good', () => {
    for (const timestamp of ['2028-02-29T12:00:00Z', '2026-12-31T23:59:60Z', '2026-12-31t18:59:60.5-05:00', '2026-01-31T12:00:00.123456+01:30']) {
      bus.validate({ ...deleted(), timestamp });
    }
    bus.validate(data({ more: nested(126) })(deleted()));
    bus.validate({ ...deleted(), timestamp: new Date() });
    bus.validate(JSON.parse(`{"id":"1","type":"photo.deleted","data":{"photoId":"p","__proto__":{}},"metadata":{"source":"s","version":"7"},"timestamp":"2026-01-31T12:00:00Z","more":1}`));
  });

  test('many mistakes are not all told', () => {
    for (const n of [25, 500, 300_000]) {
      const event = bus.createEvent('photo.processing.started', { photoId: 'p', jobId: 'j', stages: new Array(n).fill(1) }, { source: 's' });
      assert.throws(() => bus.validate(event), (error) => error.problems.length === 21 && error.problems[20].message === `and ${n - 20} more` && error.message.length < 2000);
    }
  });

  test('the size', async (t) => {
    const p = publisher(t, 'ioredis', redis, { durable: true, maxBytes: 1000 });
    const channel = unique('sizes');
    const text = (bytes) => deleted('ä'.repeat(Math.floor((bytes - JSON.stringify(deleted('')).length) / 2)));
    await p.publish(text(999), { channel });
    await assert.rejects(p.publish(text(1003), { channel }), (error) => error instanceof bus.EventTooLargeError
      && error.code === 'EVENT_TOO_LARGE' && error.limit === 1000 && error.size > 1000 && error.size < 1010);
    assert.equal(await redis.client.xlen(`eventbus:in:${channel}`), 1);
  });

  test('a check of one\'s own', async (t) => {
    const seen = [];
    const p = publisher(t, 'ioredis', redis, {
      durable: true,
      check(event) {
        seen.push(event.type);
        if (event.data.bad) throw new Error('bad');
      },
    });
    const channel = unique('own');
    const printed = (more) => bus.createEvent('photo.printed', { copies: 2, at: new Date(0), ...more }, {});
    const results = await p.publishAll([{ event: printed(), channel }, { event: printed({ bad: true }), channel }, { event: printed() }, { event: { ...printed(), id: '' }, channel }]);
    assert.deepEqual(results.map(({ ok, error }) => (ok ? 'ok' : error.message)), [
      'ok', 'bad', `publish photo.printed "${results[2].id}": invalid event: channel: missing, want the name of a channel`,
      'publish photo.printed "": invalid event: id: want a non-empty string of at most 256 bytes',
    ]);
    assert.deepEqual(seen, range(3).map(() => 'photo.printed'), 'what is no event is not shown to it');
    assert.deepEqual((await entries(redis, `eventbus:in:${channel}`)).map((e) => e.data), [{ copies: 2, at: '1970-01-01T00:00:00.000Z' }]);
    const late = publisher(t, 'ioredis', redis, { check: async () => { throw new Error('too late'); } });
    await assert.rejects(late.publish(deleted()), /check returned a promise/);
  });
});

describe('options and clients', () => {
  test('all that is wrong with the options is said at once', (t) => {
    const client = connect(t, 'ioredis');
    assert.throws(() => new bus.Publisher(client, { maxBytes: 0, timeout: '5s', durabel: true, maxWaiting: 5, replicas: 1, prefix: 5, check: true }), (error) => {
      assert.ok(error instanceof TypeError);
      for (const part of ['maxBytes is 0: want', 'timeout is "5s": want milliseconds', 'durabel: unknown', 'maxWaiting is 5: want maxBatch, which is 1000', 'replicas is 1, but durable', 'prefix is 5', 'check is true']) {
        assert.ok(error.message.includes(part), `${part}: ${error.message}`);
      }
      return true;
    });
    assert.throws(() => new bus.Publisher(client, null), TypeError);
    new bus.Publisher(client, { maxBatch: undefined, timeout: undefined }).close();
    assert.throws(() => new bus.Publisher(client, { maxLen: 1.5 }), /maxLen is 1.5/);
  });

  test('clients that would lose the order, or events, are refused', async (t) => {
    const CASES = [
      ['nothing', undefined, /want a Redis or Cluster/],
      ['an address', 'redis://localhost', /want a Redis or Cluster/],
      ['something else', { on() {}, get() {} }, /want a Redis or Cluster/],
      ['a pool', redis6.createClientPool(), /not a pool/],
      ['a pool of redis 5', redis5.createClientPool(), /not a pool/],
      ['a cluster of redis 6', redis6.createCluster({ rootNodes: [] }), /not a pool, cluster/],
      ['a cluster of redis 4', redis4.createCluster({ rootNodes: [] }), /not a pool, cluster/],
      ['a sentinel of redis 6', redis6.createSentinel({ name: 'm', sentinelRootNodes: [] }), /sentinel/],
      ['legacy mode', redis4.createClient({ legacyMode: true }), /legacyMode/],
      ['a prefix of keys', new Redis({ lazyConnect: true, keyPrefix: 'x:' }), /keyPrefix "x:"/, { durable: true }],
      ['a Cluster and replicas', new Redis.Cluster([{ port: 1 }], { lazyConnect: true }), /replicas with a Cluster/, { durable: true, replicas: 1 }],
    ];
    for (const [name, client, message, options] of CASES) {
      await t.test(name, () => assert.throws(() => new bus.Publisher(client, options), (error) => error instanceof TypeError && message.test(error.message)));
    }
  });

  test('a client that is closed', async (t) => {
    const closed = connect(t, 'ioredis');
    await closed.quit();
    await until(() => closed.status === 'end', 'the end');
    const never = redis6.createClient();
    for (const client of [closed, never]) {
      const p = new bus.Publisher(client);
      await assert.rejects(p.publish(deleted()), (error) => error instanceof bus.ClosedError && error.code === 'CLOSED' && /the Redis client is closed/.test(error.message));
      assert.equal(p.waiting, 0);
    }
  });

  test('arguments of a wrong type', async (t) => {
    const p = publisher(t, 'ioredis');
    await assert.rejects(p.publishBatch(deleted()), TypeError);
    await assert.rejects(p.publishAll('x'), TypeError);
    await assert.rejects(p.publish(deleted(), { signal: 5 }), TypeError);
    await assert.rejects(p.publishTo('', deleted()), { code: 'EVENT_INVALID' });
    await assert.rejects(p.publishTo(undefined, deleted()), { code: 'EVENT_INVALID' });
    await assert.rejects(p.close({ timeout: 'x' }), TypeError);
    await p.publish(deleted()); // it is not closed
    assert.deepEqual(await p.publishBatch([]), []);
    const results = await p.publishAll([null, {}]);
    assert.deepEqual(outcomes(results), ['EVENT_INVALID', 'EVENT_INVALID']);
  });
});

for (const library of Object.keys(LIBRARIES)) {
  describe(library, () => {
    test('plain: one, a batch, elsewhere', async (t) => {
      const server = await own(t);
      const heard = await listen(t, server, 'photo:upload');
      const elsewhere = await listen(t, server, 'elsewhere');
      const p = publisher(t, library, server);
      const events = range(6).map((i) => deleted(`p${i}`));
      await p.publish(events[0]);
      assert.deepEqual(await p.publishBatch([events[1], started(), events[2]]).then(outcomes), ['ok', 'ok', 'ok']);
      await Promise.all(events.slice(3).map((e) => p.publish(e)));
      await p.publishTo('elsewhere', events[0]);
      await p.publish(events[1], { channel: 'elsewhere' });
      await until(() => heard.length >= 6 && elsewhere.length >= 2, 'the events');
      assert.deepEqual(heard, events);
      assert.deepEqual(ids(elsewhere), ids(events.slice(0, 2)));
      assert.equal(p.waiting, 0);
      assert.equal(await server.client.exists(UPLOAD), 0);
    });

    test('durable: one, a batch with a bad one, elsewhere', async (t) => {
      const server = await own(t);
      const p = publisher(t, library, server, { durable: true });
      const events = range(6).map((i) => deleted(`Zürich \u2028 🎞 ${i}`));
      await p.publish(events[0]);
      const batch = [started('a'), events[1], { ...deleted(), id: '' }, events[2], started('b')];
      const results = await p.publishBatch(batch);
      assert.deepEqual(outcomes(results), ['ok', 'ok', 'EVENT_INVALID', 'ok', 'ok']);
      assert.deepEqual(results.map((r) => r.channel), ['photo:processing', 'photo:upload', undefined, 'photo:upload', 'photo:processing']);
      assert.deepEqual(results.map((r) => r.id), ids(batch));
      for (const e of events.slice(3)) p.publish(e); // nobody waits for one before the next
      await p.publishTo('elsewhere', events[0]);
      await until(() => p.waiting === 0, 'all to be sent');
      assert.deepEqual(await entries(server), events);
      assert.deepEqual((await entries(server, 'eventbus:in:photo:processing')).map((e) => e.data.photoId), ['a', 'b']);
      assert.deepEqual(await entries(server, 'eventbus:in:elsewhere'), [events[0]]);
      await publisher(t, library, server, { durable: true, prefix: '{x}' }).publish(events[0]);
      assert.deepEqual(await entries(server, '{x}photo:upload'), [events[0]]);
    });

    test('a batch is one transaction for each channel, and as many as it takes for large ones', async (t) => {
      const server = await own(t);
      const p = publisher(t, library, server, { durable: true, maxBatch: 20 });
      const large = range(10).map((i) => deleted(`${i}-${'x'.repeat(900 << 10)}`));
      const last = deleted();
      const [results] = await Promise.all([p.publishBatch(large), p.publish(last)]);
      assert.deepEqual(outcomes(results), large.map(() => 'ok'));
      assert.deepEqual(ids(await entries(server)), ids([...large, last]));
      assert.equal(await calls(server, 'exec'), 3); // of 4, 4, and 3 events
      const many = await p.publishBatch(range(21).map(() => deleted()));
      assert.deepEqual(outcomes(many), range(21).map(() => 'BATCH_TOO_LARGE'));
      assert.match(many[0].error.message, /batch has 21 events: want at most 20/);
      assert.equal(await calls(server, 'exec'), 3);
    });

    test('a stream keeps about maxLen', async (t) => {
      const server = await own(t);
      const p = publisher(t, library, server, { durable: true, maxLen: 100 });
      const events = range(1000).map(() => deleted());
      await p.publishBatch(events);
      const got = await entries(server);
      assert.ok(got.length >= 100 && got.length <= 300, `${got.length} entries`);
      assert.equal(got.at(-1).id, events.at(-1).id);
    });

    test('what Redis refuses: at once, with its answer, for what it is about', async (t) => {
      const server = await own(t);
      await server.client.call('acl', 'setuser', 'up', 'on', '>secret', '+@all', `~${UPLOAD}`);
      const p = publisher(t, library, server, { durable: true, timeout: 60_000 }, { username: 'up', password: 'secret' });
      const results = await p.publishBatch([started(), deleted('a'), started(), deleted('b')]);
      assert.deepEqual(outcomes(results), ['REFUSED', 'ok', 'REFUSED', 'ok']);
      assert.ok(results[0].error instanceof bus.RefusedError);
      assert.match(results[0].error.message, /Redis refused it: NOPERM/);
      assert.match(results[0].error.cause.message, /^NOPERM/);
      assert.equal(inspect(results[0].error, { depth: 9 }).includes('photoId'), false, 'errors end in logs, events need not');
      await assert.rejects(p.publish(started()), { code: 'REFUSED' });
      assert.equal((await entries(server)).length, 2);

      await server.client.set('eventbus:in:text', 'text'); // what goes wrong within a transaction
      const q = publisher(t, library, server, { durable: true, timeout: 60_000 });
      for (const { error } of await q.publishBatch([deleted(), deleted()], { channel: 'text' })) {
        assert.match(error.message, /WRONGTYPE/);
        assert.equal(error.code, 'REFUSED');
      }
    });

    test('after what Redis refuses, nothing of the batch and channel is sent', async (t) => {
      const server = await own(t);
      await server.client.call('acl', 'setuser', 'none', 'on', '>secret', '+@all');
      const p = publisher(t, library, server, { durable: true }, { username: 'none', password: 'secret' });
      const results = await p.publishBatch(range(6).map((i) => deleted(`${i}-${'x'.repeat(900 << 10)}`)));
      assert.deepEqual(outcomes(results), ['REFUSED', 'REFUSED', 'REFUSED', 'REFUSED', 'NOT_SENT', 'NOT_SENT']);
      assert.match(results[5].error.message, /not sent, as it would be before an earlier event that failed: .*NOPERM/);
      assert.equal(results[5].error.cause, results[0].error);
    });

    test('single events do without a transaction where the user may not have one', async (t) => {
      const server = await own(t);
      await server.client.call('acl', 'setuser', 'single', 'on', '>secret', '+@all', '-multi', '~*');
      const p = publisher(t, library, server, { durable: true }, { username: 'single', password: 'secret' });
      const events = range(5).map(() => deleted());
      await Promise.all(events.map((e) => p.publish(e)));
      const there = await entries(server); // those before EXEC, which did nothing, as well
      assert.deepEqual(firsts(there), ids(events));
      const more = range(5).map(() => deleted());
      await Promise.all(more.map((e) => p.publish(e)));
      assert.deepEqual(ids(await entries(server)).slice(there.length), ids(more), 'it does not try again');
      const batch = await p.publishBatch(events);
      assert.deepEqual(outcomes(batch), events.map(() => 'REFUSED'));
      assert.match(batch[0].error.message, /NOPERM .*multi/);
    });

    test('while Redis is away, events wait, up to a bound, and leave in order when it is back', async (t) => {
      const server = await own(t, { appendOnly: true });
      const p = publisher(t, library, server, { durable: true, timeout: 30_000, maxBatch: 5, maxWaiting: 10 });
      const first = deleted('first');
      await p.publish(first);
      await server.stop('SIGKILL');
      const events = range(7).map((i) => deleted(`p${i}`));
      const sent = [...events.slice(0, 4).map((e) => p.publish(e)), p.publishBatch(events.slice(4))];
      assert.equal(p.waiting, 7);
      const refused = await p.publishBatch([deleted(), { ...deleted(), id: '' }, deleted(), deleted(), deleted()]);
      assert.deepEqual(outcomes(refused), ['BUSY', 'EVENT_INVALID', 'BUSY', 'BUSY', 'BUSY']);
      assert.ok(refused[0].error instanceof bus.BusyError);
      assert.match(refused[0].error.message, /too many events wait for Redis: want at most 10/);
      const more = range(3).map((i) => deleted(`more${i}`));
      sent.push(...more.map((e) => p.publish(e)));
      await assert.rejects(p.publish(deleted()), { code: 'BUSY', limit: 10 });
      await server.start();
      await Promise.all(sent);
      assert.deepEqual(firsts(await entries(server)), ids([first, ...events, ...more]));
      await until(() => p.waiting === 0, 'nothing to wait');
      await p.publish(deleted());
    });

    test('until the timeout, which says why', async (t) => {
      const port = await freePort();
      const p = publisher(t, library, { port }, { durable: true, timeout: 300 });
      const signal = AbortSignal.timeout(100);
      const results = await Promise.all([
        p.publish(deleted()).catch((e) => e), p.publishBatch([deleted(), started()]), p.publish(deleted(), { signal }).catch((e) => e),
      ]);
      const [late, batch, aborted] = results;
      assert.ok(late instanceof bus.PublishTimeoutError);
      assert.equal(late.code, 'TIMEOUT');
      assert.match(late.message, /^publish photo\.deleted "[^"]*" on "photo:upload": not confirmed by Redis within 300 ms; sending it again is safe: ./);
      assert.ok(late.cause instanceof Error);
      assert.deepEqual(outcomes(batch), ['TIMEOUT', 'TIMEOUT']);
      assert.equal(aborted.name, 'AbortError');
      assert.equal(aborted.code, 'ABORT_ERR');
      assert.equal(aborted.cause, signal.reason);
    });

    test('a Redis that says it cannot do it yet is asked again', async (t) => {
      const server = await own(t);
      await server.client.config('SET', 'min-replicas-to-write', '1'); // NOREPLICAS
      const p = publisher(t, library, server, { durable: true, timeout: 20_000 });
      const event = deleted();
      const single = p.publish(event);
      const batch = p.publishBatch([started(), started()]);
      await until(async () => await calls(server, 'xadd', 'rejected_calls') > 5, 'more tries');
      await server.client.config('SET', 'min-replicas-to-write', '0');
      await single;
      assert.deepEqual(await batch.then(outcomes), ['ok', 'ok']);
      assert.deepEqual(firsts(await entries(server)), [event.id]);

      await server.client.config('SET', 'min-replicas-to-write', '1');
      const q = publisher(t, library, server, { durable: true, timeout: 1500 });
      await assert.rejects(q.publish(event), (error) => error.code === 'TIMEOUT' && /NOREPLICAS/.test(error.message) && /^NOREPLICAS/.test(error.cause.message));
    });

    test('what is aborted before is not sent', async (t) => {
      const p = publisher(t, library, redis, { durable: true });
      const channel = unique('aborted');
      const results = await p.publishBatch([deleted(), { ...deleted(), id: '' }], { channel, signal: AbortSignal.abort(new Error('no more')) });
      assert.deepEqual(outcomes(results), ['ABORT_ERR', 'EVENT_INVALID']);
      assert.equal(results[0].error.cause.message, 'no more');
      assert.equal(await redis.client.exists(`eventbus:in:${channel}`), 0);
    });

    test('close waits for what is on its way, and takes no more', async (t) => {
      const server = await own(t, { appendOnly: true });
      const client = connect(t, library, server);
      const p = new bus.Publisher(client, { durable: true, timeout: 20_000 });
      await p.publish(deleted());
      await server.stop('SIGKILL');
      const sent = Promise.all(range(3).map(() => p.publish(deleted())));
      const closing = p.close();
      await assert.rejects(p.publish(deleted()), (error) => error instanceof bus.ClosedError && error.code === 'CLOSED');
      await server.start();
      assert.equal(await closing, 0);
      await sent;
      assert.equal(await p.close(), 0);

      const q = new bus.Publisher(client, { durable: true, timeout: 20_000 });
      await q.publish(deleted());
      await server.stop('SIGKILL');
      const lost = q.publishBatch([deleted(), started()]);
      assert.equal(await q.close({ timeout: 50 }), 2);
      assert.deepEqual(await lost.then(outcomes), ['CLOSED', 'CLOSED']);
    });

    test('a Redis that has gone silent: what the client holds counts, and arrives when it speaks again', async (t) => {
      const server = await own(t);
      cleanup(t, () => server.program.signal('SIGCONT'));
      const client = connect(t, library, server);
      const patient = new bus.Publisher(client, { durable: true, timeout: 30_000 });
      await patient.publish(deleted('before'));
      const p = new bus.Publisher(client, { durable: true, timeout: 200, maxBatch: 2, maxWaiting: 3 });
      server.program.signal('SIGSTOP');
      await assert.rejects(p.publish(deleted('held')), { code: 'TIMEOUT' });
      assert.equal(p.waiting, 1);
      for (let i = 0; i < 3; i += 1) await assert.rejects(p.publish(deleted(`late${i}`)), { code: 'TIMEOUT' });
      assert.equal(p.waiting, 1, 'what the client has not got is gone');
      await Promise.all([
        assert.rejects(p.publish(deleted()), { code: 'TIMEOUT' }), assert.rejects(p.publish(deleted()), { code: 'TIMEOUT' }),
        assert.rejects(p.publish(deleted()), { code: 'BUSY' }),
      ]);
      server.program.signal('SIGCONT');
      await until(() => p.waiting === 0, 'the answer');
      await patient.publish(deleted('after'));
      assert.deepEqual((await entries(server)).map((e) => e.data.photoId), ['before', 'held', 'after']);
    });

    test('through restarts, nothing is lost or out of order, and whoever listens hears each once', { timeout: 120_000 }, async (t) => {
      const server = await own(t, { appendOnly: true, settings: { appendfsync: 'always' } });
      const service = await startServer(server);
      cleanup(t, () => service.stop());
      const client = await watching(t, service);
      const p = publisher(t, library, server, { durable: true, timeout: 60_000 });
      const n = 1200;
      const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
      const events = range(n).map((i) => bus.createEvent('photo.processing.stage.completed',
        { photoId: client.photoId, jobId: 'j', stage: String(i), progress: i % 100 }, { source: 'test', traceparent }));
      let done = 0;
      const publish = async () => {
        for (let i = 0; i < n; i += 40) {
          const some = events.slice(i, i + 40);
          const singles = some.slice(0, 10).map((e) => p.publish(e)); // all at once
          const [results] = await Promise.all([p.publishBatch(some.slice(10)), ...singles]);
          assert.deepEqual(outcomes(results), range(30).map(() => 'ok'));
          done = i + 40;
        }
      };
      const publishing = publish();
      for (const at of [n / 4, n / 2, (3 * n) / 4]) {
        await Promise.race([until(() => done >= at, 'the next kill', 60_000), publishing]);
        await server.stop('SIGKILL');
        await server.start();
      }
      await publishing;
      assert.deepEqual(firsts(await entries(server, 'eventbus:in:photo:processing')), ids(events));
      await until(() => client.bodies('processing.event').length >= n, () => `${n} events, got ${client.bodies('processing.event').length}`, 60_000);
      await client.asks('heartbeat');
      assert.deepEqual(client.bodies('processing.event').map((e) => Number(e.data.stage)), range(n));
      assert.equal(client.bodies('processing.event')[5].metadata.traceparent.split('-')[1], traceparent.split('-')[1]);
    });

    test('replicas', { timeout: 60_000 }, async (t) => {
      const master = await own(t, { settings: { 'repl-diskless-sync-delay': 0 } });
      const replica = await own(t, { settings: { replicaof: ['127.0.0.1', master.port] } });
      cleanup(t, () => replica.program.signal('SIGCONT'));
      await until(async () => /state=online/.test(await master.client.info('replication')), 'the replica', 30_000);
      const p = publisher(t, library, master, { durable: true, replicas: 1, timeout: 10_000 });
      const events = range(6).map(() => deleted());
      await p.publish(events[0]);
      assert.deepEqual(await p.publishBatch(events.slice(1, 4)).then(outcomes), ['ok', 'ok', 'ok']);
      await Promise.all(events.slice(4).map((e) => p.publish(e)));
      assert.deepEqual(ids(await entries(replica)), ids(events));

      const q = publisher(t, library, master, { durable: true, replicas: 1, timeout: 3000 });
      await q.publish(deleted()); // it is connected
      replica.program.signal('SIGSTOP');
      const failed = await Promise.all([q.publish(deleted()).catch((e) => e), q.publishBatch([started(), started()])]);
      assert.ok(failed[0] instanceof bus.NotReplicatedError, String(failed[0]));
      assert.equal(failed[0].code, 'NOT_REPLICATED');
      assert.match(failed[0].message, /^publish photo\.deleted .*in the master of Redis, but not confirmed by enough replicas in time: 0 of 1/);
      assert.ok(failed[1].every(({ error }) => ['NOT_REPLICATED', 'TIMEOUT'].includes(error.code)), 'the channels share a connection');
      replica.program.signal('SIGCONT');
      await p.publish(deleted());
    });
  });
}

describe('settings of clients', () => {
  const SETTINGS = [
    ['ioredis', 'without an offline queue', { enableOfflineQueue: false }],
    ['ioredis', 'without limit of retries', { maxRetriesPerRequest: null }],
    ['ioredis', 'without retries', { maxRetriesPerRequest: 0 }],
    ['ioredis', 'which does not send again', { autoResendUnfulfilledCommands: false }],
    ['ioredis', 'which does neither', { autoResendUnfulfilledCommands: false, enableOfflineQueue: false, maxRetriesPerRequest: null }],
    ['ioredis', 'which connects late', { lazyConnect: true }],
    ['ioredis', 'with a timeout of commands', { commandTimeout: 300 }],
    ['ioredis', 'with automatic pipelines', { enableAutoPipelining: true }],
    ['redis 4', 'without an offline queue', { disableOfflineQueue: true }],
    ['redis 5', 'without an offline queue', { disableOfflineQueue: true }],
    ['redis 6', 'without an offline queue', { disableOfflineQueue: true }],
    ['redis 6', 'with RESP2', { RESP: 2 }],
    ['redis 6', 'with a timeout of commands', { commandOptions: { timeout: 300 } }],
  ];
  for (const [library, name, options] of SETTINGS) {
    test(`${library} ${name}: all arrives, first in order, though Redis stops and dies`, { timeout: 60_000 }, async (t) => {
      const server = await own(t, { appendOnly: true, settings: { appendfsync: 'always' } });
      const p = publisher(t, library, server, { durable: true, timeout: 30_000 }, options);
      const events = [];
      const sent = [];
      const publish = (n) => range(n).forEach(() => {
        events.push(deleted());
        sent.push(p.publish(events.at(-1)));
      });
      publish(10); // perhaps before it is connected
      await Promise.all(sent);
      for (let round = 0; round < 2; round += 1) {
        server.program.signal('SIGSTOP'); // so that something is on its way when it dies
        publish(10);
        await new Promise((resolve) => { setImmediate(resolve); });
        publish(10);
        await server.stop('SIGKILL');
        publish(10);
        await server.start();
        publish(10);
        await Promise.all(sent);
      }
      assert.deepEqual(firsts(await entries(server)), ids(events));
      await until(() => p.waiting === 0, 'nothing to be held');
    });
  }

  test('a transaction of somebody else on the same client: what is in it is not taken for sent', async (t) => {
    const server = await own(t);
    const client = connect(t, 'ioredis', server);
    const p = new bus.Publisher(client, { durable: true, timeout: 10_000 });
    await client.multi({ pipeline: false });
    const event = deleted();
    const sent = p.publish(event);
    await until(async () => await calls(server, 'multi') > 0 && p.waiting === 1, 'the try');
    await client.call('discard');
    await sent;
    assert.deepEqual(firsts(await entries(server)), [event.id]);
  });

  test('many publishers and calls on one client add one listener', async (t) => {
    const warnings = [];
    const warn = (warning) => warnings.push(warning);
    process.on('warning', warn);
    cleanup(t, () => process.off('warning', warn));
    const client = connect(t, 'redis 6');
    const before = client.listenerCount('ready');
    const all = range(20).map(() => new bus.Publisher(client, { durable: true }));
    const { signal } = new AbortController();
    await Promise.all(all.map((p) => p.publishTo(unique('many'), deleted(), { signal })));
    assert.equal(client.listenerCount('ready'), before + 1);
    await Promise.all(all.map((p) => p.close()));
    assert.equal(client.listenerCount('ready'), before);
    assert.deepEqual(warnings, []);
  });
});

describe('a Redis Cluster, with a Cluster of ioredis', () => {
  test('plain and durable, through a failover', { timeout: 120_000 }, async (t) => {
    const cluster = await RedisCluster.start();
    cleanup(t, () => cluster.remove());
    const client = new Redis.Cluster(cluster.nodes.map(({ port }) => ({ host: '127.0.0.1', port })));
    client.on('error', () => {});
    cleanup(t, () => client.disconnect());
    const p = new bus.Publisher(client, { durable: true, timeout: 30_000, source: 'test' });
    const plain = new bus.Publisher(client, { timeout: 30_000 });
    const heard = await listen(t, cluster.nodes[0], 'photo:upload');
    const events = range(200).map((i) => deleted(String(i)));
    await Promise.all(range(20).flatMap((i) => [plain.publishBatch(events.slice(i * 10, i * 10 + 5)), ...events.slice(i * 10 + 5, i * 10 + 10).map((e) => plain.publish(e))]));
    await until(() => heard.length >= 200, () => `200 events, got ${heard.length}`);
    assert.deepEqual(ids(heard), ids(events), 'a channel keeps to a node');

    const stream = (channel) => cluster.masterOf(`eventbus:in:${channel}`).then((node) => entries(node, `eventbus:in:${channel}`));
    const mixed = events.slice(0, 10).flatMap((e) => [e, started(), bus.createEvent('batch.processing.completed', { batchId: 'b' }, { source: 's' })]);
    assert.deepEqual(await p.publishBatch(mixed).then(outcomes), mixed.map(() => 'ok')); // each channel has its own node
    assert.deepEqual(ids(await stream('photo:upload')), ids(events.slice(0, 10)));
    await until(async () => {
      const { client: master } = await cluster.masterOf(UPLOAD);
      return await master.wait(1, 5000) === 1;
    }, 'the replica');
    const failing = cluster.failOver(UPLOAD);
    for (const e of events.slice(10, 20)) await p.publish(e);
    assert.deepEqual(await p.publishBatch(events.slice(20, 40)).then(outcomes), range(20).map(() => 'ok'));
    await failing;
    await p.publishBatch(events.slice(40, 60));
    for (const e of events.slice(60, 70)) await p.publish(e);
    const there = new Set(ids(await stream('photo:upload')));
    for (const e of [...events.slice(0, 10), ...events.slice(40, 70)]) assert.ok(there.has(e.id)); // of the others some may have died with the master
    assert.equal(p.waiting, 0);
  });
});
