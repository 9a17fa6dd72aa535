// The official clients, old and new, over each transport: the same front-end code must see the same service.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { until } from './lib/await.mjs';
import { cleanup } from './lib/cleanup.mjs';
import { CLIENTS, Client, TRANSPORTS } from './lib/client.mjs';
import { byName, event, numbered, numbers, publish, range, seven } from './lib/events.mjs';
import { RedisServer } from './lib/redis.mjs';
import { startAlone, startServer } from './lib/server.mjs';
import { token, unique } from './lib/tokens.mjs';

const COMBINATIONS = Object.entries(CLIENTS).flatMap(([version, io]) => Object.entries(TRANSPORTS)
  .map(([transport, options]) => ({ name: `socket.io-client ${version}, ${transport}`, transport, options: { io, ...options } })));

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

for (const { name, transport, options } of COMBINATIONS) {
  describe(name, () => {
    test('connects with a token in an auth object, an auth function, the Authorization header', async (t) => {
      const text = token({ userId: unique('user') });
      const ways = [
        { auth: { token: text } },
        { auth: { token: `Bearer ${text}` } },
        { auth: (give) => give({ token: text }) },
        { auth: undefined, extraHeaders: { Authorization: `Bearer ${text}` } },
        { auth: undefined, extraHeaders: { authorization: text } },
      ];
      for (const way of ways) {
        const { socket } = await Client.connect(t, server, { ...options, ...way });
        const want = transport === 'polling' ? 'polling' : 'websocket';
        await until(() => socket.io.engine.transport.name === want, `the transport to be ${want}`);
      }
    });

    test('answers each client event, and its acknowledgement', async (t) => {
      const client = await Client.connect(t, server, options);
      const photoId = unique('photo');
      const own = client.user;

      await client.asks('identify', { clientId: unique('client'), sessionId: unique('session'), userAgent: 'test' });
      const [{ socketId, timestamp, ...rest }] = await client.received('identified', 1);
      assert.equal(socketId, client.socket.id);
      assert.equal(new Date(timestamp).toISOString().slice(0, 19), timestamp.slice(0, 19));
      assert.ok(Math.abs(new Date(timestamp) - Date.now()) < 60_000, timestamp);
      assert.deepEqual(rest, {});

      await client.asks('subscribe:photo', { photoId });
      await client.asks('subscribe:user', { userId: own });
      assert.deepEqual(await client.received('subscribed', 2), [{ room: `photo:${photoId}` }, { room: `user:${own}` }]);
      await client.asks('unsubscribe:photo', { photoId });
      await client.asks('unsubscribe:user', { userId: own });
      assert.deepEqual(await client.received('unsubscribed', 2), [{ room: `photo:${photoId}` }, { room: `user:${own}` }]);

      await client.asks('heartbeat');
      const [beat] = await client.received('heartbeat', 1);
      assert.ok(Number.isInteger(beat.timestamp), JSON.stringify(beat));
      assert.ok(Math.abs(beat.timestamp - Date.now()) < 60_000, JSON.stringify(beat));
      assert.deepEqual(client.bodies('error'), []);
    });

    test('needs no acknowledgement', async (t) => {
      const client = await Client.connect(t, server, options);
      client.socket.emit('identify', { clientId: unique('client') });
      client.socket.emit('subscribe:photo', { photoId: 'p' });
      client.socket.emit('unsubscribe:photo', { photoId: 'p' });
      client.socket.emit('heartbeat');
      await client.received('heartbeat', 1);
      assert.deepEqual(client.inbox.map((e) => e.name), ['identified', 'subscribed', 'unsubscribed', 'heartbeat']);
    });

    test('has 500 client events handled in the order they were sent', async (t) => {
      const client = await Client.connect(t, server, options);
      const acks = [];
      for (const i of range(500)) {
        const verb = i % 2 === 0 ? 'subscribe' : 'unsubscribe';
        client.socket.emit(`${verb}:photo`, { photoId: `${Math.floor(i / 2)}` }, ({ ok }) => acks.push([i, ok]));
      }
      await until(() => acks.length === 500, () => `500 acks, got ${acks.length}`);
      await until(() => client.inbox.length === 500, () => `500 answers, got ${client.inbox.length}`);
      assert.deepEqual(acks, range(500).map((i) => [i, true]));
      assert.deepEqual(
        client.inbox.map((e) => `${e.name} ${e.body.room}`),
        range(500).map((i) => `${i % 2 === 0 ? 'subscribed' : 'unsubscribed'} photo:${Math.floor(i / 2)}`),
      );
    });

    test('shows each of the seven events as published, once, to the rooms it is for and to no other', async (t) => {
      const watcher = await Client.identified(t, server, options);
      const bystander = await Client.identified(t, server, options);
      const [photo, other] = [unique('photo'), unique('photo')];
      await watcher.asks('subscribe:photo', { photoId: photo });
      await bystander.asks('subscribe:photo', { photoId: other });

      // In a channel one order holds for all, so what comes later proves what did not come before.
      const mine = seven(watcher, photo);
      const theirs = seven(bystander, other);
      const last = seven(watcher, photo);
      await publish(redis, ...mine, ...theirs, ...last);
      const want = byName([...mine, ...last]);
      for (const [eventName, events] of Object.entries(want)) {
        assert.deepEqual(await watcher.received(eventName, events.length), events);
      }
      for (const [eventName, events] of Object.entries(byName(theirs))) {
        assert.deepEqual(await bystander.received(eventName, events.length), events);
      }
    });

    test('hears nothing of a room after leaving it', async (t) => {
      const client = await Client.identified(t, server, options);
      const photoId = unique('photo');
      await client.asks('subscribe:photo', { photoId });
      await publish(redis, ...numbered(photoId, 0, 1));
      await client.received('processing.event', 1);
      await client.asks('unsubscribe:photo', { photoId });
      const fence = event('photo.processing.started', { photoId: 'another', jobId: 'j', stages: [], userId: client.user });
      await publish(redis, ...numbered(photoId, 1, 5), fence);
      const [, second] = await client.received('processing.event', 2);
      assert.deepEqual(second, fence);
      await client.asks('unsubscribe:user', { userId: client.user });
      await client.asks('subscribe:photo', { photoId });
      const mine = numbered(photoId, 5, 6);
      await publish(redis, { ...fence, id: unique('fence') }, ...mine);
      assert.deepEqual((await client.received('processing.event', 3))[2], mine[0]);
    });

    test('receives a burst of 5,000 whole and in order', async (t) => {
      const client = await Client.identified(t, server, options);
      const photoId = unique('photo');
      await client.asks('subscribe:photo', { photoId });
      await publish(redis, ...numbered(photoId, 0, 5000)); // the default client may be in the middle of its upgrade
      await client.received('processing.event', 5000, 30_000);
      await client.asks('heartbeat');
      assert.deepEqual(numbers(client), range(5000));
      assert.deepEqual(client.states, [{ state: 'connect', detail: false }]);
    });

    test('names the reason when it leaves by itself', async (t) => {
      const client = await Client.connect(t, server, options);
      client.socket.disconnect();
      assert.equal(await client.disconnected(), 'io client disconnect');
    });

    test('comes back by itself after its transport was dropped', async (t) => {
      const client = await Client.connect(t, server, options);
      client.drop();
      assert.equal(await client.disconnected(), 'forced close');
      await client.connected(2);
      await client.asks('heartbeat');
    });
  });
}

describe('a server that goes', () => {
  async function oneOfEach(t, on) {
    return Promise.all(COMBINATIONS.map(({ options }) => Client.connect(t, on, options)));
  }

  async function allReturn(clients) {
    for (const client of clients) {
      await client.connected(2);
      await client.asks('heartbeat');
    }
  }

  test('every client sees a transport close when it stops, and returns to its successor', async (t) => {
    const { redis: store, server: first } = await startAlone(t);
    const clients = await oneOfEach(t, first);
    assert.deepEqual(await first.stop(), { code: 0, signal: null });
    for (const client of clients) assert.equal(await client.disconnected(), 'transport close');
    const second = await startServer(store, { WEBSOCKET_PORT: first.port });
    cleanup(t, () => second.stop());
    await allReturn(clients);
  });

  test('every client sees a ping timeout when it freezes, and returns when it thaws', async (t) => {
    const { server: frozen } = await startAlone(t, { PING_INTERVAL: '300ms', PING_TIMEOUT: '700ms' });
    const clients = await oneOfEach(t, frozen);
    frozen.signal('SIGSTOP');
    for (const client of clients) assert.equal(await client.disconnected(), 'ping timeout');
    frozen.signal('SIGCONT');
    await allReturn(clients);
  });
});

describe('each default routing rule by itself', () => {
  const { io, options } = { io: CLIENTS['4.8'], options: TRANSPORTS.websocket };
  const RULES = [
    { room: 'client', type: 'photo.deleted', shown: 'upload.event', data: () => ({}), metadata: (c) => ({ clientId: c.clientId }) },
    { room: 'session', type: 'photo.deleted', shown: 'upload.event', data: () => ({}), metadata: (c) => ({ sessionId: c.sessionId }) },
    { room: 'photo', type: 'photo.processing.started', shown: 'processing.event', data: (c) => ({ photoId: c.photoId }) },
    { room: 'user', type: 'photo.processing.started', shown: 'processing.event', data: (c) => ({ userId: c.user }) },
    { room: 'photo', type: 'photo.processing.failed', shown: 'completion.event', data: (c) => ({ photoId: c.photoId }) },
    { room: 'client', type: 'batch.processing.completed', shown: 'completion.event', data: () => ({}), metadata: (c) => ({ clientId: c.clientId }) },
  ];

  for (const { room, type, shown, data, metadata = () => ({}) } of RULES) {
    test(`${type} reaches the ${room} room as ${shown}`, async (t) => {
      const client = await Client.identified(t, server, { io, ...options });
      client.photoId = unique('photo');
      await client.asks('subscribe:photo', { photoId: client.photoId });
      const required = { photoId: 'nobody', userId: 'nobody', jobId: 'j', batchId: 'b', stages: [], stage: 's', error: { code: 'E', message: 'm' }, retryable: true };
      const sent = event(type, { ...required, ...data(client) }, metadata(client));
      await publish(redis, sent);
      assert.deepEqual(await client.received(shown, 1), [sent]);
    });
  }

  test('one event reaches every socket of a room', async (t) => {
    const photoId = unique('photo');
    const clients = await Promise.all(range(20).map(() => Client.identified(t, server, { io, ...options })));
    for (const client of clients) await client.asks('subscribe:photo', { photoId });
    const sent = numbered(photoId, 0, 10);
    await publish(redis, ...sent);
    for (const client of clients) assert.deepEqual(await client.received('processing.event', 10), sent);
  });
});
