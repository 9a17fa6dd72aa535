// The last events of a photo for who subscribes later: in order, and then live, without a gap or a double in between.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from './lib/await.mjs';
import { cleanup } from './lib/cleanup.mjs';
import { CLIENTS, Client, TRANSPORTS } from './lib/client.mjs';
import { add, event, numbered, numbers, publish, range } from './lib/events.mjs';
import { Random } from './lib/random.mjs';
import { RedisServer } from './lib/redis.mjs';
import { startAlone, startServer } from './lib/server.mjs';
import { unique } from './lib/tokens.mjs';

const PACE = 2; // ms between events, so that there is something before, while and after a client subscribes

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

/** Publishes events of a photo, and resolves when the clients of a server have seen them. */
async function past(t, photoId, from, to, server = servers[0], store = redis) {
  const witness = await Client.connect(t, server);
  await witness.asks('subscribe:photo', { photoId });
  await publish(store, ...numbered(photoId, from, to));
  await witness.received('processing.event', to - from);
  witness.close();
}

/** The numbers in an answer's history. */
const told = ({ history }) => history.map((e) => e.args[0].data.progress);

const from = (first, last) => range(last - first).map((i) => first + i);

for (const [transport, options] of Object.entries(TRANSPORTS)) {
  test(`a photo's last events, then live, ${transport}`, async (t) => {
    const photoId = unique('photo');
    await past(t, photoId, 0, 8);
    for (const server of servers) {
      const client = await Client.connect(t, server, options);
      const answer = await client.asks('subscribe:photo', { photoId, history: 5 });
      assert.deepEqual(Object.keys(answer).sort(), ['history', 'ok', 'room']);
      assert.equal(answer.room, `photo:${photoId}`);
      assert.deepEqual(told(answer), from(3, 8));
      for (const e of answer.history) {
        assert.deepEqual(Object.keys(e).sort(), ['args', 'event', 'offset']);
        assert.equal(e.event, 'processing.event');
        assert.equal(e.args.length, 1);
        assert.match(e.offset, /^\d+-\d+$/);
      }
      assert.deepEqual(client.bodies('subscribed'), [{ room: `photo:${photoId}` }]);
    }
    const [client, other] = await Promise.all(servers.map((server) => Client.connect(t, server, options)));
    await Promise.all([client, other].map((c) => c.asks('subscribe:photo', { photoId, history: 1 })));
    await publish(redis, ...numbered(photoId, 8, 12));
    for (const c of [client, other]) {
      await c.received('processing.event', 4);
      assert.deepEqual(numbers(c), from(8, 12));
    }
  });
}

for (const [version, io] of Object.entries(CLIENTS)) {
  test(`who asks for no acknowledgement is told by the event, client ${version}`, async (t) => {
    const photoId = unique('photo');
    await past(t, photoId, 0, 3);
    const client = await Client.connect(t, servers[1], { io });
    client.socket.emit('subscribe:photo', { photoId, history: 10 });
    const [answer] = await client.received('subscribed', 1);
    assert.deepEqual(Object.keys(answer).sort(), ['history', 'room']);
    assert.deepEqual(told(answer), [0, 1, 2]);
    await publish(redis, ...numbered(photoId, 3, 5));
    await client.received('processing.event', 2);
    assert.deepEqual(client.inbox.map((e) => e.name), ['subscribed', 'processing.event', 'processing.event']);
  });
}

test('an event is in the history as it was sent live', async (t) => {
  const photoId = unique('photo');
  const witness = await Client.connect(t, servers[0]);
  await witness.asks('subscribe:photo', { photoId });
  const sent = event('photo.processing.stage.completed', {
    photoId, jobId: 'j', stage: 'metadata', result: { nested: [null, true, -0.5, 1e21, '</script>\u2028', { '': [] }] }, progress: 1,
  });
  await publish(redis, sent);
  await witness.received('processing.event', 1);
  const client = await Client.connect(t, servers[0]);
  const { history } = await client.asks('subscribe:photo', { photoId, history: 1 });
  const live = witness.inbox.at(-1);
  assert.deepEqual(history, [{ event: live.name, args: [live.args[0]], offset: live.args[1] }]);
  assert.deepEqual(history[0].args[0], sent);
});

test('old clients do not notice', async (t) => {
  const photoId = unique('photo');
  await past(t, photoId, 0, 3);
  const client = await Client.connect(t, servers[0]);
  for (const more of [{}, { history: 0 }, { history: null }]) {
    assert.deepEqual(await client.ask('subscribe:photo', { photoId, ...more }), { ok: true, room: `photo:${photoId}` });
  }
  assert.deepEqual(client.inbox.map((e) => [e.name, e.body]), range(3).map(() => ['subscribed', { room: `photo:${photoId}` }]));
});

test('what is no number of events is refused, and the connection stays', async (t) => {
  const client = await Client.connect(t, servers[0]);
  const message = 'history: want a whole number from 0 to 100';
  for (const history of [-1, 101, 0.5, '10', true, [], {}]) {
    assert.deepEqual(await client.ask('subscribe:photo', { photoId: 'p', history }), { ok: false, error: message });
    assert.deepEqual(client.inbox.at(-1).body, { message, event: 'subscribe:photo' });
  }
  await client.asks('heartbeat');
});

test('nobody is told of a photo that is not his', async (t) => {
  const photoId = unique('photo');
  await past(t, photoId, 0, 3);
  const client = await Client.connect(t, servers[0], { permissions: [] });
  assert.deepEqual(await client.ask('subscribe:photo', { photoId, history: 10 }), { ok: false, error: 'Access denied' });
});

test('the history outlives the servers', async (t) => {
  const { redis: store, server } = await startAlone(t, { HISTORY_SIZE: '5' });
  await past(t, 'p', 0, 300, server, store);
  await server.stop();
  const next = await startServer(store, { HISTORY_SIZE: '5' });
  cleanup(t, () => next.stop());
  const client = await Client.connect(t, next);
  const answer = await client.asks('subscribe:photo', { photoId: 'p', history: 100 });
  assert.deepEqual(told(answer), from(295, 300), 'as many as are kept');
});

test('an answer that would be too large lacks the oldest, and says so', async (t) => {
  const photoId = unique('photo');
  const witness = await Client.connect(t, servers[0]);
  await witness.asks('subscribe:photo', { photoId });
  const large = numbered(photoId, 0, 4).map((e) => ({ ...e, data: { ...e.data, result: 'x'.repeat(100_000) } }));
  await publish(redis, ...large);
  await witness.received('processing.event', 4);
  const client = await Client.connect(t, servers[0]);
  const answer = await client.asks('subscribe:photo', { photoId, history: 10 });
  assert.equal(answer.truncated, true);
  assert.deepEqual(told(answer), [2, 3]);
});

for (const [how, env] of Object.entries({ 'turned off': { HISTORY_SIZE: '0' }, 'with the adapter pubsub': { ADAPTER: 'pubsub' } })) {
  test(`where no history is kept, ${how}, a client can do without`, async (t) => {
    const { server } = await startAlone(t, env);
    const client = await Client.connect(t, server);
    const answer = await client.ask('subscribe:photo', { photoId: 'p', history: 10 });
    assert.deepEqual(answer, { ok: false, error: 'history is not kept here' });
    await client.asks('subscribe:photo', { photoId: 'p' });
  });
}

test('without recovery there is a history all the same', async (t) => {
  const { redis: store, server } = await startAlone(t, { RECOVERY_WINDOW: '-1s' });
  await past(t, 'p', 0, 5, server, store);
  const client = await Client.connect(t, server);
  const answer = await client.asks('subscribe:photo', { photoId: 'p', history: 3 });
  assert.deepEqual(told(answer), [2, 3, 4]);
  await publish(store, ...numbered('p', 5, 7));
  await client.received('processing.event', 2);
  assert.deepEqual(numbers(client), [5, 6]);
});

test('while Redis does not answer the client is told, and has not joined', async (t) => {
  const { redis: store, server } = await startAlone(t);
  await past(t, 'p', 0, 3, server, store);
  const client = await Client.connect(t, server);
  store.program.signal('SIGSTOP');
  const answer = await client.ask('subscribe:photo', { photoId: 'p', history: 3 });
  store.program.signal('SIGCONT');
  assert.deepEqual(answer, { ok: false, error: 'History unavailable' });
  assert.deepEqual(client.bodies('error'), [{ message: 'History unavailable', event: 'subscribe:photo' }]);
  const witness = await Client.connect(t, server);
  await witness.asks('subscribe:photo', { photoId: 'p' });
  await add(store, ...numbered('p', 3, 4));
  await witness.received('processing.event', 1);
  assert.deepEqual(told(await client.asks('subscribe:photo', { photoId: 'p', history: 2 })), [2, 3]);
  assert.deepEqual(numbers(client), []);
});

describe('while a photo is being processed', () => {
  let photoId;
  let stop;
  let publishing;

  before(async () => {
    photoId = unique('photo');
    stop = false;
    publishing = (async () => {
      for (let n = 0; !stop; n += 1) {
        await add(redis, ...numbered(photoId, n, n + 1)); // durably: one order for all of them
        await sleep(PACE);
      }
    })();
  });

  after(async () => {
    stop = true;
    await publishing;
  });

  /** Subscribes, and resolves with where the history ended and with the place in the inbox where it did. */
  async function subscribes(client, history, ack) {
    const begun = client.inbox.length;
    let answer;
    let at;
    if (ack) {
      answer = await new Promise((resolve) => {
        client.socket.emit('subscribe:photo', { photoId, history }, (a) => {
          at = client.inbox.length; // what comes now is live
          resolve(a);
        });
      });
      assert.equal(answer.ok, true, JSON.stringify(answer));
    } else {
      client.socket.emit('subscribe:photo', { photoId, history });
      await until(() => client.inbox.length > begun, () => 'an answer');
      answer = client.inbox[begun].body;
      at = begun + 1;
    }
    assert.deepEqual(client.inbox.slice(begun, at).map((e) => e.name), ['subscribed'], 'nothing before the answer');
    const got = told(answer);
    assert.ok(got.length <= history, `asked for ${history}, told ${got.length}`);
    if (got.length > 0) assert.deepEqual(got, from(got[0], got.at(-1) + 1), 'the history has no gap');
    return { last: got.at(-1), at, count: got.length };
  }

  /** The live events from that place on continue the history. */
  function continues(client, { last, at }) {
    const live = client.inbox.slice(at).filter((e) => e.name === 'processing.event').map((e) => e.body.data.progress);
    if (live.length > 0) assert.deepEqual(live, from((last ?? live[0] - 1) + 1, live.at(-1) + 1), `live after ${last}`);
    return live.length;
  }

  const here = (client, place, count) => until(() => continues(client, place) >= count, () => `${count} live events`);

  test('many clients subscribe again and again: no gap, no double', async (t) => {
    const dice = new Random(42);
    let rounds = 0;
    let events = 0;
    await Promise.all(range(16).map(async (i) => {
      const mine = dice.fork();
      const client = await Client.connect(t, servers[i % 2], Object.values(TRANSPORTS)[i % 3]);
      for (const _ of range(20)) {
        const place = await subscribes(client, 1 + Math.floor(mine.next() * 100), mine.next() < 0.5);
        await here(client, place, Math.floor(mine.next() * 20));
        await client.asks('unsubscribe:photo', { photoId });
        events += place.count + continues(client, place);
        rounds += 1;
        client.inbox.length = 0;
      }
    }));
    t.diagnostic(`${rounds} subscriptions, ${events} events told and sent`);
  });

  test('who drops right after it and returns, to the other replica, goes on where it was', async (t) => {
    const dice = new Random(43);
    let recovered = 0;
    await Promise.all(range(8).map(async (i) => {
      const mine = dice.fork();
      const client = await Client.connect(t, servers[i % 2], { reconnection: false, ...TRANSPORTS.websocket });
      for (const round of range(8)) {
        const place = await subscribes(client, 1 + Math.floor(mine.next() * 50), mine.next() < 0.5);
        await here(client, place, Math.floor(mine.next() * 3));
        client.drop();
        await until(() => !client.socket.connected, () => 'a disconnect');
        await sleep(mine.next() * 20); // something is missed
        const states = client.states.length;
        client.socket.io.uri = servers[(i + round + 1) % 2].url;
        client.socket.connect();
        assert.equal(await client.connected(states), true, 'recovered');
        recovered += 1;
        const before = continues(client, place);
        await here(client, place, before + 5);
        await client.asks('unsubscribe:photo', { photoId });
        continues(client, place);
        client.inbox.length = 0;
      }
    }));
    t.diagnostic(`${recovered} returns recovered`);
  });
});
