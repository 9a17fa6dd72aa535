// Node Socket.IO servers and ours side by side, as they are while a team moves from one to the other.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Emitter } from '@socket.io/redis-emitter';
import { until } from './lib/await.mjs';
import { Client, TRANSPORTS } from './lib/client.mjs';
import { numbered, numbers, publish, range } from './lib/events.mjs';
import { startNode } from './lib/node.mjs';
import { RedisServer } from './lib/redis.mjs';
import { startServer } from './lib/server.mjs';
import { unique } from './lib/tokens.mjs';

let redis;
let server; // ours

before(async () => {
  redis = await RedisServer.start();
  server = await startServer(redis);
});

after(async () => {
  await server?.stop();
  await redis?.remove();
});

/** A client of that server in the room of a photo of its own, or of that one. */
async function watcher(t, on, photoId = unique('photo'), options = {}) {
  const client = await Client.identified(t, on, { reconnection: false, ...options });
  client.photoId = photoId;
  await client.asks('subscribe:photo', { photoId });
  return client;
}

/** A Node server that knows of ours, and ours of it. */
async function node(t) {
  const peer = await startNode(t, redis);
  await until(async () => await peer.io.of('/').adapter.serverCount() >= 2, () => 'two servers');
  // The adapter says nothing of when it reads the stream: it does once it has read something.
  const witness = await watcher(t, peer);
  await until(async () => {
    await publish(redis, ...numbered(witness.photoId, 0, 1));
    return witness.bodies('processing.event').length > 0;
  }, () => 'the Node server to read the log');
  witness.close();
  return peer;
}

async function comesBackTo(client, other) {
  const from = client.states.length;
  client.socket.io.uri = other.url;
  client.socket.connect();
  return client.connected(from);
}

describe('with a Node server on the streams adapter', () => {
  test('our events reach its clients, in the order that ours see', async (t) => {
    const peer = await node(t);
    const theirs = await watcher(t, peer);
    const ours = await watcher(t, server, theirs.photoId);
    await publish(redis, ...numbered(ours.photoId, 0, 50));
    for (const client of [theirs, ours]) {
      await client.received('processing.event', 50);
      assert.deepEqual(numbers(client), range(50));
    }
    assert.deepEqual(theirs.inbox.at(-1).args, ours.inbox.at(-1).args, 'the offset included');
  });

  test('its broadcasts reach our clients, with all that JSON and binary can hold', async (t) => {
    const peer = await node(t);
    const client = await watcher(t, server);
    const other = await watcher(t, server);
    const room = `photo:${client.photoId}`;
    const args = [{ a: [1, 2.5, null, 'ü"\\\n'], deep: { x: true } }, 'text', 12345678901, null, [[]]];
    peer.io.to(room).emit('plain', ...args);
    peer.io.to(room).emit('binary', Buffer.from([0, 1, 255]), { inside: [new Uint8Array([7, 8])] }, 'end');
    peer.io.to([room, `photo:${other.photoId}`]).emit('once');
    peer.io.except(room).emit('others');
    peer.io.volatile.to(room).emit('volatile', 1);
    peer.io.to(client.socket.id).emit('direct');
    await client.received('direct', 1);
    await other.received('others', 1);
    const got = (name) => client.inbox.filter((e) => e.name === name).map((e) => e.args);
    assert.deepEqual(got('plain')[0].slice(0, 5), args);
    const [first, second, end] = got('binary')[0];
    assert.deepEqual([...new Uint8Array(first)], [0, 1, 255]);
    assert.deepEqual([...new Uint8Array(second.inside[0])], [7, 8]);
    assert.equal(end, 'end');
    assert.equal(got('once').length, 1);
    assert.equal(got('others').length, 0);
    assert.deepEqual(got('volatile'), [[1]]);
  });

  test('it finds our sockets', async (t) => {
    const peer = await node(t);
    const client = await watcher(t, server);
    const [found, ...more] = await peer.io.in(`photo:${client.photoId}`).fetchSockets();
    assert.equal(more.length, 0);
    assert.equal(found.id, client.socket.id);
    assert.deepEqual([...found.rooms].sort(),
      [client.socket.id, `client:${client.clientId}`, `photo:${client.photoId}`, `session:${client.sessionId}`, `user:${client.user}`].sort());
    assert.equal(found.data.user.id, client.user);
    assert.equal(found.handshake.headers.authorization, undefined);
    assert.equal(JSON.stringify(found.handshake).includes('eyJ'), false, 'no token leaves the server');
  });

  test('it moves our sockets between rooms, and disconnects them', async (t) => {
    const peer = await node(t);
    const client = await watcher(t, server);
    peer.io.in(`photo:${client.photoId}`).socketsJoin(['extra', 'more']);
    peer.io.to('extra').emit('hello');
    await client.received('hello', 1);
    peer.io.in('more').socketsLeave('extra');
    peer.io.to('extra').emit('hello');
    peer.io.to('more').emit('still');
    await client.received('still', 1);
    assert.equal(client.bodies('hello').length, 1);
    peer.io.in('more').disconnectSockets();
    assert.equal(await client.disconnected(), 'io server disconnect');
    const closed = await watcher(t, server);
    peer.io.in(closed.socket.id).disconnectSockets(true);
    await closed.disconnected();
  });

  test('it asks our clients and gets their answers', async (t) => {
    const peer = await node(t);
    const clients = [await watcher(t, server), await watcher(t, peer)];
    await clients[1].asks('subscribe:photo', { photoId: clients[0].photoId });
    for (const [i, client] of clients.entries()) client.socket.on('question', (x, ack) => ack({ from: i, x }));
    const answers = await peer.io.to(`photo:${clients[0].photoId}`).timeout(5000).emitWithAck('question', 'why');
    assert.deepEqual(answers.sort((a, b) => a.from - b.from), [{ from: 0, x: 'why' }, { from: 1, x: 'why' }]);
    clients[0].socket.off('question');
    clients[0].socket.on('question', (x, ack) => ack(Buffer.from([1, 2, 3])));
    const binary = await peer.io.to(clients[0].socket.id).timeout(5000).emitWithAck('question', null);
    assert.deepEqual([...binary[0]], [1, 2, 3]);
  });

  for (const [transport, options] of Object.entries(TRANSPORTS)) {
    test(`clients are recovered in both directions, ${transport}`, async (t) => {
      const peer = await node(t);
      const client = await watcher(t, server, undefined, options);
      const { id } = client.socket;
      await publish(redis, ...numbered(client.photoId, 0, 5));
      await client.received('processing.event', 5);
      for (const [round, to] of [peer, server, peer, server].entries()) {
        const from = client.states.length;
        client.drop();
        await client.disconnected(from);
        await until(async () => await redis.client.exists(`sio:session:${client.socket._pid}`) === 1, () => 'a session');
        const n = 5 + 10 * round;
        await publish(redis, ...numbered(client.photoId, n, n + 5));
        assert.equal(await comesBackTo(client, to), true, `round ${round}`);
        assert.equal(client.socket.id, id);
        await client.received('processing.event', n + 5);
        await publish(redis, ...numbered(client.photoId, n + 5, n + 10));
        await client.received('processing.event', n + 10);
        assert.deepEqual(numbers(client), range(n + 10));
      }
    });
  }
});

describe('with redis-emitter', () => {
  const emitter = () => new Emitter(redis.client);

  test('its events reach our clients, and those who were away', async (t) => {
    const client = await watcher(t, server);
    const room = `photo:${client.photoId}`;
    emitter().to(room).emit('one', { n: 1 });
    emitter().to([room, 'nowhere']).emit('several', Buffer.from([9]));
    emitter().emit('all', 'everybody');
    emitter().except(room).emit('others');
    emitter().to(room).emit('one', { n: 1 }); // the same again is another event
    await client.received('one', 2);
    assert.deepEqual(client.bodies('all'), ['everybody']);
    assert.deepEqual([...new Uint8Array(client.bodies('several')[0])], [9]);
    assert.deepEqual(client.bodies('others'), []);
    client.drop();
    await client.disconnected();
    for (const n of range(5)) emitter().to(room).emit('missed', n);
    assert.equal(await comesBackTo(client, server), true);
    await client.received('missed', 5);
    assert.deepEqual(client.bodies('missed'), range(5));
  });

  test('its commands move and disconnect our clients', async (t) => {
    const client = await watcher(t, server);
    emitter().in(`photo:${client.photoId}`).socketsJoin('joined');
    emitter().to('joined').emit('hello');
    await until(() => {
      if (client.bodies('hello').length === 0) emitter().to('joined').emit('hello'); // two channels, so no order between them
      return client.bodies('hello').length > 0;
    }, () => 'hello');
    emitter().in('joined').disconnectSockets(true);
    await client.disconnected();
  });

  test('what is nothing of the kind is counted and dropped', async (t) => {
    const client = await watcher(t, server);
    await redis.client.publish('socket.io#/#', Buffer.from([0x93, 1, 2]));
    await redis.client.publish('socket.io#/#', Buffer.from([0xc1]));
    await redis.client.publish('socket.io-request#/#', '{"type":99}');
    await redis.client.publish('socket.io-request#/#', 'nonsense');
    await redis.client.xadd('socket.io', '*', 'uid', 'x', 'nsp', '/', 'type', '3', 'data', '{"broken"');
    await redis.client.xadd('socket.io', '*', 'uid', 'x', 'nsp', '/', 'type', '77', 'data', '{}');
    await redis.client.xadd('socket.io', '*', 'some', 'thing');
    await publish(redis, ...numbered(client.photoId, 0, 3));
    await client.received('processing.event', 3);
    const metrics = await server.metrics();
    assert.ok(metrics.value('eventbus_log_invalid_total') >= 1);
    assert.ok(metrics.value('eventbus_peers_invalid_total') >= 1);
  });
});
