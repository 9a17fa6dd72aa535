// What should not be sent: by clients, by publishers, by strangers. It is refused, and everybody else lives on.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { until } from './lib/await.mjs';
import { Client, TRANSPORTS } from './lib/client.mjs';
import { numbered, numbers, publish, range } from './lib/events.mjs';
import { RawClient } from './lib/raw.mjs';
import { RedisServer } from './lib/redis.mjs';
import { startAlone, startServer } from './lib/server.mjs';

const CORS_ORIGINS = ['https://app.example', 'https://admin.example'];

let redis;
let server;

before(async () => {
  redis = await RedisServer.start();
  server = await startServer(redis, { CORS_ORIGINS: CORS_ORIGINS.join(','), CONNECT_TIMEOUT: '1s' });
});

after(async () => {
  await server?.stop();
  await redis?.remove();
});

/** Values nested to that depth. */
function nested(depth) {
  return range(depth).reduce((inner) => [inner], 'core');
}

describe('malformed client events: an error, a false ack, and the connection lives', () => {
  const long = 'x'.repeat(100_000);
  const binary = Buffer.from([0, 1, 2, 255]);

  const PAYLOADS = (key) => [
    ['nothing', []],
    ['null', [null]],
    ['a string', ['photo']],
    ['an empty string', ['']],
    ['a number', [42]],
    ['true', [true]],
    ['an array', [[]]],
    ['an array with the id', [['id']]],
    ['an empty object', [{}]],
    ['a null id', [{ [key]: null }]],
    ['an empty id', [{ [key]: '' }]],
    ['an id that is true', [{ [key]: true }]],
    ['an id that is an object', [{ [key]: { toString: 'x' } }]],
    ['an id that is an array', [{ [key]: ['id'] }]],
    ['an id of 100,000 characters', [{ [key]: long }]],
    ['an id nested 1,000 deep', [{ [key]: nested(1000) }]],
    ['a payload nested 1,000 deep', [nested(1000)]],
    ['binary', [binary]],
    ['a binary id', [{ [key]: binary }]],
    ['two binary arguments', [binary, { more: [binary] }]],
  ];
  const CASES = [
    ...PAYLOADS('clientId').map(([name, args]) => ['identify', name, args]),
    ['identify', 'a session id of a wrong type', [{ clientId: 'c', sessionId: {} }]],
    ['identify', 'a session id of 100,000 characters', [{ clientId: 'c', sessionId: long }]],
    ...['subscribe', 'unsubscribe'].flatMap((verb) => [
      ...PAYLOADS('photoId').map(([name, args]) => [`${verb}:photo`, name, args]),
      ...PAYLOADS('userId').map(([name, args]) => [`${verb}:user`, name, args]),
    ]),
    ['subscribe:album', 'an unknown event', [{ albumId: 'a' }]],
    ['nonsense', 'an unknown event without payload', []],
    ['nonsense', 'an unknown event with binary', [binary]],
    ['', 'an event without a name', []],
    ['__proto__', 'an event named as an object\'s inside', [{}]],
    ['subscribed', 'an event that is the server\'s', [{ room: 'photo:p' }]],
  ];

  for (const transport of ['websocket', 'polling']) {
    test(`over ${transport}`, async (t) => {
      for (const [event, name, args] of CASES) {
        await t.test(`${event}: ${name}`, async (t2) => {
          const client = await Client.connect(t2, server, TRANSPORTS[transport]);
          const answer = await client.ask(event, ...args);
          assert.equal(answer.ok, false);
          assert.equal(typeof answer.error, 'string');
          const [error] = await client.received('error', 1);
          assert.equal(error.event, event);
          assert.equal(typeof error.message, 'string');
          assert.ok(error.message.length > 0 && error.message.length < 1000, error.message);
          client.socket.emit(event, ...args); // and without an ack
          await client.received('error', 2);
          await client.asks('heartbeat');
          await client.received('heartbeat', 1);
          assert.deepEqual(client.inbox.map((e) => e.name), ['error', 'error', 'heartbeat']);
          assert.deepEqual(client.states, [{ state: 'connect', detail: false }]);
        });
      }
    });
  }

  test('an event name of 100,000 characters', async (t) => {
    const client = await Client.connect(t, server);
    assert.equal((await client.ask(long, {})).ok, false);
    await client.received('error', 1);
    await client.asks('heartbeat');
  });

  test('fields nobody asked for are no error', async (t) => {
    const client = await Client.connect(t, server);
    await client.asks('identify', { clientId: 'c', sessionId: 's', userAgent: 'u', ipAddress: '::1', userId: 'x', permissions: ['*'], more: nested(10) });
    await client.asks('subscribe:photo', { photoId: 'p', since: 5 });
    assert.deepEqual(client.bodies('error'), []);
  });

  test('ids may hold any characters', async (t) => {
    const client = await Client.connect(t, server);
    for (const photoId of ['a:b', '../..', 'ä 日本 🎞', '"\\', '*', '__proto__', 'constructor', '\u0000', '0']) {
      await client.asks('subscribe:photo', { photoId });
      await publish(redis, ...numbered(photoId, 0, 1));
      const shown = await client.received('processing.event', 1);
      assert.equal(shown.at(-1).data.photoId, photoId);
      client.inbox.length = 0;
    }
  });

  test('a payload above MAX_PAYLOAD ends that connection, which comes back', async (t) => {
    const { server: small } = await startAlone(t, { MAX_PAYLOAD: '20000' });
    for (const transport of ['websocket', 'polling']) {
      const client = await Client.connect(t, small, TRANSPORTS[transport]);
      const other = await Client.connect(t, small, TRANSPORTS[transport]);
      await client.asks('identify', { clientId: 'c', userAgent: 'x'.repeat(19_000) }); // just below
      client.socket.emit('identify', { clientId: 'x'.repeat(21_000) });
      assert.match(await client.disconnected(), /^transport (close|error)$/);
      await client.connected(2);
      await client.asks('heartbeat');
      await other.asks('heartbeat');
      assert.equal(other.states.length, 1);
    }
  });
});

describe('frames no official client sends', () => {
  const FRAMES = [
    '', '4', '42', '42{}', '42[]', '42[', '42["identify"', '42"identify"', '42[5]', '42[null]', '42[["identify"]]', '42[{}]',
    '42["connect",{}]', '42["disconnect"]', '42["connect_error"]', '420', '4299999999999999999999["heartbeat"]', '42-1["heartbeat"]',
    '43', '43[]', '430[]', '439[{}]', '4399999999999999999999[1]', '44', '44{}', '44{"message":"x"}',
    '45', '45-["x"]', '450-["x"]', '451-', '451-["identify",{"_placeholder":true,"num":0}]',
    '451-["identify",{"_placeholder":true,"num":5}]', '451-["identify",{"_placeholder":true,"num":-1}]',
    '451-["identify",{"_placeholder":true,"num":"0"}]', '459999999999-["x"]', '46', '461-0[]',
    '40', '40{}', '40{"token":', '40[]', '40"x"', '40null', '41{}', '41/none', '42/none,["x"]', '42/none', '40/none', '40/none,{}',
    `40/${'n'.repeat(10_000)},{}`, '47', '48', '49', '4a', '0', '0{}', '1', '2', '2probe', '3', '3probe', '5', '6', '7', '9', 'x', 'b', 'bAAAA', 'b%%%%',
    '\u0000', '42["heartbeat"]\u001e42["heartbeat"]', '42["\ud800"]', `42${'['.repeat(100_000)}`, `42["identify",${'['.repeat(100_000)}${']'.repeat(100_000)}]`,
    `42["identify",${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}]`, Buffer.alloc(0), Buffer.from([4]), Buffer.from('42["heartbeat"]'), Buffer.alloc(100_000),
  ];
  for (const frame of FRAMES) {
    const shown = typeof frame === 'string' ? JSON.stringify(frame) : `binary ${frame.toString('hex')}`;
    test(`${shown.slice(0, 60)}: that connection is closed or goes on, all others live`, async (t) => {
      const witness = await Client.connect(t, server, TRANSPORTS.websocket);
      const raw = await RawClient.connect(t, server);
      raw.send(frame);
      raw.send('42["heartbeat"]');
      await until(() => raw.closed || raw.frames.some((f) => f.startsWith('42["heartbeat"')), 'an end or an answer');
      await witness.asks('heartbeat');
      assert.equal(witness.states.length, 1);
    });
  }

  test('an event before the CONNECT packet is not handled', async (t) => {
    const raw = await RawClient.open(t, server);
    raw.send('420["heartbeat"]');
    await until(() => raw.closed, 'the server to close');
    assert.deepEqual(raw.frames.filter((f) => f.startsWith('4')), []);
  });

  test('a session that never sends CONNECT is closed after CONNECT_TIMEOUT', async (t) => {
    const raw = await RawClient.open(t, server);
    await until(() => raw.closed, 'the server to close');
  });

  const REQUESTS = [
    ['an unknown transport', 'EIO=4&transport=pigeon', 400, 0],
    ['an unknown session', 'EIO=4&transport=polling&sid=nobody', 400, 1],
    ['an old protocol', 'EIO=3&transport=polling', 400, 5],
    ['no transport', 'EIO=4', 400, 0],
  ];
  for (const [name, query, status, code] of REQUESTS) {
    test(`${name}: ${status}`, async () => {
      const response = await fetch(`${server.url}/socket.io/?${query}`);
      assert.equal(response.status, status);
      assert.equal((await response.json()).code, code);
    });
  }

  test('a handshake by POST: 400', async () => {
    const response = await fetch(`${server.url}/socket.io/?EIO=4&transport=polling`, { method: 'POST', body: '40' });
    assert.equal(response.status, 400);
    assert.equal((await response.json()).code, 2);
  });
});

describe('malformed Redis messages: dropped, and the next one arrives', () => {
  const photoId = 'photo-of-malformed-messages';
  const good = () => numbered(photoId, 0, 1)[0];
  const without = (key) => {
    const { [key]: _, ...rest } = good();
    return JSON.stringify(rest);
  };
  const MESSAGES = [
    ['an empty message', ''],
    ['text', 'hello'],
    ['half an event', JSON.stringify(good()).slice(0, -10)],
    ['an event and more', `${JSON.stringify(good())} {}`],
    ['null', 'null'],
    ['a number', '5'],
    ['a string', '"event"'],
    ['an array', JSON.stringify([good()])],
    ['an empty object', '{}'],
    ['no id', without('id')],
    ['no type', without('type')],
    ['no data', without('data')],
    ['an id of a wrong type', JSON.stringify({ ...good(), id: { a: 1 } })],
    ['a type of a wrong type', JSON.stringify({ ...good(), type: ['photo.uploaded'] })],
    ['an empty id', JSON.stringify({ ...good(), id: '' })],
    ['data of a wrong type', JSON.stringify({ ...good(), data: 'photoId' })],
    ['null data', JSON.stringify({ ...good(), data: null })],
    ['bytes that are not UTF-8', Buffer.concat([Buffer.from([0xff, 0xfe, 0xc0]), Buffer.from(JSON.stringify(good()))])],
    ['20 MB', JSON.stringify({ ...good(), data: { photoId, progress: 0, padding: 'x'.repeat(20_000_000) } })],
    ['100,000 levels', JSON.stringify({ ...good(), data: { photoId, progress: 0, result: 1 } }).replace('"result":1', `"result":${'['.repeat(100_000)}${']'.repeat(100_000)}`)],
  ];
  for (const [name, message] of MESSAGES) {
    test(name, async (t) => {
      const client = await Client.connect(t, server, TRANSPORTS.websocket);
      await client.asks('subscribe:photo', { photoId });
      await redis.client.publish('photo:processing', message);
      await publish(redis, ...numbered(photoId, 1, 2));
      await client.received('processing.event', 1);
      assert.deepEqual(numbers(client), [1]);
      assert.equal(client.states.length, 1);
    });
  }

  test('on every channel', async (t) => {
    const client = await Client.identified(t, server);
    await client.asks('subscribe:photo', { photoId });
    for (const channel of ['photo:upload', 'photo:processing', 'photo:completion']) {
      for (const [, message] of MESSAGES.slice(0, 10)) await redis.client.publish(channel, message);
    }
    await publish(redis, ...numbered(photoId, 1, 2));
    await client.received('processing.event', 1);
    assert.deepEqual(numbers(client), [1]);
  });
});

describe('CORS', () => {
  const handshake = (headers, method = 'GET') => fetch(`${server.url}/socket.io/?EIO=4&transport=polling`, { method, headers });

  for (const origin of CORS_ORIGINS) {
    test(`allows ${origin}`, async () => {
      const response = await handshake({ origin });
      assert.equal(response.status, 200);
      assert.equal(response.headers.get('access-control-allow-origin'), origin);
      assert.match(response.headers.get('vary') ?? '', /origin/i);
    });

    test(`answers the preflight of ${origin}`, async () => {
      const response = await handshake({ origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization,content-type' }, 'OPTIONS');
      assert.ok([200, 204].includes(response.status), `status ${response.status}`);
      assert.equal(response.headers.get('access-control-allow-origin'), origin);
      assert.match(response.headers.get('access-control-allow-methods'), /POST/);
      assert.match(response.headers.get('access-control-allow-headers'), /authorization/i);
    });
  }

  for (const origin of ['https://evil.example', 'https://app.example.evil.example', 'http://app.example', 'null']) {
    test(`does not allow ${origin}`, async () => {
      for (const method of ['GET', 'OPTIONS']) {
        const response = await handshake({ origin, 'access-control-request-method': 'POST' }, method);
        const allowed = response.headers.get('access-control-allow-origin');
        assert.ok(allowed !== origin && allowed !== '*', `${method}: ${allowed}`);
      }
    });
  }
});
