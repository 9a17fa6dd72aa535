// What the event bus promises beyond Socket.IO on Node, so no part of the reference run.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from './lib/await.mjs';
import { TRANSPORTS } from './lib/client.mjs';
import { event, numbered, publish, range } from './lib/events.mjs';
import { Proxy } from './lib/proxy.mjs';
import { startAlone } from './lib/server.mjs';
import { token, unique } from './lib/tokens.mjs';
import { sees, watching } from './lib/watching.mjs';

for (const [transport, options] of Object.entries(TRANSPORTS)) {
  test(`a client is recovered before the server has noticed that it left, ${transport}`, async (t) => {
    const { redis, server } = await startAlone(t, { PING_INTERVAL: '1s', PING_TIMEOUT: '1s' });
    const proxy = await Proxy.start(t, server);
    const client = await watching(t, proxy, options);
    const { id } = client.socket;
    for (const round of range(10)) {
      await publish(redis, ...numbered(client.photoId, round * 20, round * 20 + 10));
      const from = client.states.length;
      await until(() => {
        const gone = client.states.length > from;
        if (!gone) proxy.cut(); // more than once: one that polls may just be between two requests
        return gone;
      }, 'a disconnect');
      await publish(redis, ...numbered(client.photoId, round * 20 + 10, round * 20 + 20));
      assert.equal(await client.connected(from), true, `round ${round}`);
      assert.equal(client.socket.id, id);
    }
    await sees(client, 200);
    await server.clients(1); // what it left behind is found out by the pings at the latest
  });
}

test('one user does not recover the session of another', async (t) => {
  const { redis, server } = await startAlone(t);
  const [alice, mallory] = [unique('alice'), unique('mallory')];
  let next = token({ userId: alice, permissions: ['photo:read:*'] });
  const client = await watching(t, server, { auth: (give) => give({ token: next }), reconnection: false });
  await publish(redis, ...numbered(client.photoId, 0, 1));
  await client.received('processing.event', 1);
  const { id } = client.socket;
  next = token({ userId: mallory });
  client.drop();
  await client.disconnected();
  await publish(redis, ...numbered(client.photoId, 1, 2));
  client.socket.connect();
  assert.equal(await client.connected(2), false);
  assert.notEqual(client.socket.id, id);
  await client.asks('subscribe:user', { userId: mallory });
  const own = event('photo.processing.started', { photoId: 'p', userId: mallory, jobId: 'j', stages: [] });
  await publish(redis, ...numbered(client.photoId, 2, 3), own);
  assert.deepEqual((await client.received('processing.event', 2))[1], own);
});

test('a room its user may no longer watch is not recovered', async (t) => {
  const { redis, server } = await startAlone(t);
  const user = unique('user');
  let next = token({ userId: user, permissions: ['photo:read:*'] });
  const client = await watching(t, server, { user, auth: (give) => give({ token: next }), reconnection: false });
  next = token({ userId: user });
  client.drop();
  await client.disconnected();
  await publish(redis, ...numbered(client.photoId, 0, 5));
  client.socket.connect();
  await client.connected(2);
  await client.asks('subscribe:user', { userId: user });
  const own = event('photo.processing.started', { photoId: 'p', userId: user, jobId: 'j', stages: [] });
  await publish(redis, ...numbered(client.photoId, 5, 10), own);
  assert.deepEqual(await client.received('processing.event', 1), [own]);
});

test('an event published twice is made once', async (t) => {
  const { redis, server } = await startAlone(t);
  const client = await watching(t, server);
  const [first, second] = numbered(client.photoId, 0, 2);
  await publish(redis, first, first, second, first);
  await publish(redis, ...numbered(client.photoId, 2, 3));
  await sees(client, 3);
});
