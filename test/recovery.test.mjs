// Connection state recovery, as the 4.8 client sees it: what was missed arrives once, in order, or the client is told.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, before, beforeEach, describe, test } from 'node:test';
import { until } from './lib/await.mjs';
import { cleanup } from './lib/cleanup.mjs';
import { Client, TRANSPORTS } from './lib/client.mjs';
import { byName, numbered, numbers, publish, range, seven } from './lib/events.mjs';
import { RedisServer } from './lib/redis.mjs';
import { startAlone, startServer } from './lib/server.mjs';
import { unique } from './lib/tokens.mjs';
import { sees, watching } from './lib/watching.mjs';

const ACTIVE = 'eventbus_websocket_active_connections';

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

beforeEach(() => server.clients(0)); // so that leave and missed count nobody else

const MANUAL = { reconnection: false }; // comes back only when told to

/** Leaves as a network does, and waits until the server has noticed. */
async function leave(client, on, drop = () => client.drop()) {
  const before = (await on.metrics()).value(ACTIVE);
  const from = client.states.length;
  drop();
  await client.disconnected(from);
  await on.clients(before - 1);
}

/** Comes back, and resolves with whether the state was recovered. */
function comeBack(client) {
  const from = client.states.length;
  client.socket.connect();
  return client.connected(from);
}

/** Publishes numbered events from..to-1 and waits until somebody who stayed has seen them. */
async function missed(t, { redis: store, server: on }, photoId, from, to) {
  const before = (await on.metrics()).value(ACTIVE);
  const witness = await Client.identified(t, on);
  await witness.asks('subscribe:photo', { photoId });
  await publish(store, ...numbered(photoId, from, to));
  await witness.received('processing.event', to - from, 30_000);
  witness.close();
  await on.clients(before);
}

for (const [transport, options] of Object.entries(TRANSPORTS)) {
  describe(`a client that comes back within the window, ${transport}`, () => {
    test('is recovered: same id, what it missed in order and once, then live', async (t) => {
      const client = await watching(t, server, { ...MANUAL, ...options });
      const { id } = client.socket;
      await publish(redis, ...numbered(client.photoId, 0, 10));
      await client.received('processing.event', 10);
      await leave(client, server);
      await missed(t, { redis, server }, client.photoId, 10, 20);
      assert.equal(await comeBack(client), true);
      assert.equal(client.socket.id, id);
      await publish(redis, ...numbered(client.photoId, 20, 30));
      await sees(client, 30);
      assert.equal(client.bodies('identified').length, 1);
    });

    test('is recovered though it never received more than its identification', async (t) => {
      const client = await Client.identified(t, server, { ...MANUAL, ...options });
      await leave(client, server);
      const sent = seven(client, unique('photo'));
      await publish(redis, ...sent);
      assert.equal(await comeBack(client), true);
      for (const [name, events] of Object.entries(byName(sent))) {
        assert.deepEqual(await client.received(name, events.length), events);
      }
    });

    test('is recovered when nothing was missed', async (t) => {
      const client = await watching(t, server, { ...MANUAL, ...options });
      await leave(client, server);
      assert.equal(await comeBack(client), true);
      await publish(redis, ...numbered(client.photoId, 0, 3));
      await sees(client, 3);
    });

    test('is recovered again and again', async (t) => {
      const client = await watching(t, server, { ...MANUAL, ...options });
      for (const round of range(5)) {
        await leave(client, server);
        await publish(redis, ...numbered(client.photoId, round * 10, round * 10 + 10));
        assert.equal(await comeBack(client), true, `round ${round}`);
      }
      await sees(client, 50);
    });

    test('has 2,000 missed events made up for', async (t) => {
      const client = await watching(t, server, { ...MANUAL, ...options });
      await leave(client, server);
      await missed(t, { redis, server }, client.photoId, 0, 2000);
      assert.equal(await comeBack(client), true);
      await publish(redis, ...numbered(client.photoId, 2000, 2010));
      await sees(client, 2010);
    });
  });
}

describe('what is recovered', () => {
  test('several rooms, in the one order all others saw', async (t) => {
    const client = await Client.identified(t, server, MANUAL);
    const photos = [unique('photo'), unique('photo')];
    const join = async (who) => {
      for (const photoId of photos) await who.asks('subscribe:photo', { photoId });
    };
    await join(client);
    const witness = await Client.connect(t, server, { user: client.user });
    await witness.asks('identify', { clientId: client.clientId, sessionId: client.sessionId });
    await join(witness);
    await leave(client, server);
    const rounds = range(10).map(() => photos.flatMap((photoId) => seven(client, photoId)));
    for (const events of rounds) await publish(redis, ...events);
    const shown = ({ inbox }) => inbox.filter((e) => e.name.endsWith('.event')).map((e) => e.body);
    await until(() => shown(witness).length === 140, () => `140 events, got ${shown(witness).length}`);
    assert.equal(await comeBack(client), true);
    await until(() => shown(client).length >= 140, () => `140 events, got ${shown(client).length}`);
    await client.asks('heartbeat');
    assert.deepEqual(shown(client), shown(witness));
  });

  test('not the rooms it had left', async (t) => {
    const client = await watching(t, server, MANUAL);
    const left = unique('photo');
    await client.asks('subscribe:photo', { photoId: left });
    await client.asks('unsubscribe:photo', { photoId: left });
    await leave(client, server);
    await missed(t, { redis, server }, left, 500, 510);
    await publish(redis, ...numbered(client.photoId, 0, 5));
    assert.equal(await comeBack(client), true);
    await publish(redis, ...numbered(left, 510, 520), ...numbered(client.photoId, 5, 10));
    await sees(client, 10);
  });

  test('a connection that broke without a word', async (t) => {
    const client = await watching(t, server, { ...MANUAL, ...TRANSPORTS.websocket });
    await publish(redis, ...numbered(client.photoId, 0, 5));
    await client.received('processing.event', 5);
    await leave(client, server, () => client.socket.io.engine.transport.ws.terminate());
    await publish(redis, ...numbered(client.photoId, 5, 10));
    assert.equal(await comeBack(client), true);
    await sees(client, 10);
  });

  test('a client that changes its transport', async (t) => {
    const client = await watching(t, server, { ...MANUAL, ...TRANSPORTS.websocket });
    await leave(client, server);
    await publish(redis, ...numbered(client.photoId, 0, 5));
    client.socket.io.opts.transports = ['polling'];
    assert.equal(await comeBack(client), true);
    await publish(redis, ...numbered(client.photoId, 5, 10));
    await sees(client, 10);
  });
});

describe('a client that is told it was not recovered', () => {
  /** What a front-end does then: identify and subscribe anew. Afterwards it must live. */
  async function startsAnew(client, on, from) {
    await client.identify();
    await client.asks('subscribe:photo', { photoId: client.photoId });
    await publish(on, ...numbered(client.photoId, from, from + 5));
    await client.received('processing.event', 5);
    assert.deepEqual(numbers(client), range(5).map((i) => from + i));
  }

  test('left on purpose', async (t) => {
    const client = await watching(t, server, MANUAL);
    const { id } = client.socket;
    await leave(client, server, () => client.socket.disconnect());
    await missed(t, { redis, server }, client.photoId, 0, 5);
    assert.equal(await comeBack(client), false);
    assert.notEqual(client.socket.id, id);
    await startsAnew(client, redis, 5);
  });

  test('came back after the window', async (t) => {
    const brief = await startAlone(t, { RECOVERY_WINDOW: '500ms' });
    const client = await watching(t, brief.server, MANUAL);
    await leave(client, brief.server);
    await missed(t, brief, client.photoId, 0, 5);
    await sleep(2000); // four times the window, which is what this test is about
    assert.equal(await comeBack(client), false);
    await startsAnew(client, brief.redis, 5);
  });

  test('came back to a server that has lost everything', async (t) => {
    const { redis: store, server: first } = await startAlone(t);
    const client = await watching(t, first, MANUAL);
    await first.stop();
    await client.disconnected();
    await store.client.flushall();
    const second = await startServer(store, { WEBSOCKET_PORT: first.port });
    cleanup(t, () => second.stop());
    assert.equal(await comeBack(client), false);
    await startsAnew(client, store, 0);
  });

  test('claims a session that never was', async (t) => {
    const auth = { pid: 'no-such-session', offset: '1-1' };
    const client = await watching(t, server, MANUAL);
    const stranger = await Client.connect(t, server, { auth: { ...client.socket.auth, ...auth } });
    assert.equal(stranger.states[0].detail, false);
    assert.notEqual(stranger.socket.id, client.socket.id);
    await stranger.asks('heartbeat');
  });
});

for (const [transport, options] of Object.entries(TRANSPORTS)) {
  test(`a flapping client, ${transport}: 500 events and 20 drops, nothing lost unsaid, nothing twice`, async (t) => {
    const client = await Client.identified(t, server, options);
    const photoId = unique('photo');
    await client.asks('subscribe:photo', { photoId });
    const seen = []; // [number, how often the client had been told to start anew]
    let losses = 0;
    let subscribed = true; // acknowledged: before that, a recovered state may lack the room
    client.socket.on('connect', () => { // as a front-end does
      if (client.socket.recovered && subscribed) return;
      losses += 1;
      subscribed = false;
      client.socket.emit('identify', { clientId: client.clientId });
      client.socket.emit('subscribe:photo', { photoId }, ({ ok }) => { subscribed = ok; });
    });
    client.socket.on('processing.event', (e) => seen.push([e.data.progress, losses]));

    let drops = 0;
    const connects = () => client.states.filter((s) => s.state === 'connect');
    const back = (times) => until(() => connects().length === times + 1, () => `return ${times}, got ${JSON.stringify(client.states)}`);
    for (const e of numbered(photoId, 0, 500)) {
      await publish(redis, e);
      if (e.data.progress % 25 === 12) { // 20 times, with events before, during and after
        await back(drops);
        client.drop();
        drops += 1;
      }
      await sleep(2); // the pace of the events, not a wait for anything
    }
    assert.equal(drops, 20);
    await back(drops);
    await client.asks('subscribe:photo', { photoId });
    await publish(redis, ...numbered(photoId, 500, 501));
    await until(() => seen.some(([n]) => n === 500), () => `the last event, got ${JSON.stringify(seen.at(-1))}`);

    for (const [i, [number, lost]] of seen.entries()) {
      const [previous, lostBefore] = seen[i - 1] ?? [-1, 0];
      if (lost === lostBefore) assert.equal(number, previous + 1, `after ${previous} came ${number}, and nobody said so`);
      else assert.ok(number > previous, `after ${previous} came ${number} again`);
    }
    t.diagnostic(`${drops - losses} of ${drops} returns recovered, ${501 - seen.length} events lost and told`);
  });
}
