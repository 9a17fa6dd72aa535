// Node Socket.IO servers with @socket.io/redis-adapter and ours side by side: what is broadcast is published, not logged.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Emitter } from '@socket.io/redis-emitter';
import { until } from './lib/await.mjs';
import { Client, TRANSPORTS } from './lib/client.mjs';
import { cleanup } from './lib/cleanup.mjs';
import { add, numbered, numbers, publish, range } from './lib/events.mjs';
import { startNode } from './lib/node.mjs';
import { RedisServer } from './lib/redis.mjs';
import { startServer } from './lib/server.mjs';
import { unique } from './lib/tokens.mjs';

const SHARDED = ['static', 'dynamic', 'dynamic-private'];
const VARIANTS = {
  classic: { kind: 'classic', env: { ADAPTER: 'pubsub' } },
  'classic with specific responses': {
    kind: 'classic', options: { publishOnSpecificResponseChannel: true }, env: { ADAPTER: 'pubsub', SPECIFIC_RESPONSES: 'true' },
  },
  ...Object.fromEntries(SHARDED.map((mode) => [`sharded, ${mode}`, {
    kind: 'sharded', mode, options: { subscriptionMode: mode }, env: { ADAPTER: 'sharded', SUBSCRIPTION_MODE: mode },
  }])),
};
const OURS = 2;

for (const [name, { kind, mode, options, env }] of Object.entries(VARIANTS)) {
  describe(name, () => {
    let redis;
    let servers; // ours

    before(async () => {
      redis = await RedisServer.start();
      servers = await Promise.all(range(OURS).map(() => startServer(redis, env)));
    });

    after(async () => {
      await Promise.all(servers?.map((server) => server.stop()) ?? []);
      await redis?.remove();
    });

    /** A Node server that knows of ours, and ours of it. */
    async function node(t) {
      const peer = await startNode(t, redis, kind, options);
      let count;
      await until(async () => {
        count = await peer.io.of('/').adapter.serverCount();
        return count === OURS + 1; // none of an earlier test either
      }, () => `${OURS + 1} servers, got ${count}`);
      return peer;
    }

    /** Waits until so many servers listen to the room's own channel, where rooms have one. */
    async function heard(room, count) {
      if (mode === undefined || mode === 'static' || (mode === 'dynamic' && room.length === 20)) return;
      let got;
      await until(async () => {
        [, got] = await redis.client.call('PUBSUB', 'SHARDNUMSUB', `socket.io#/#${room}#`);
        return got === count;
      }, () => `${count} servers to hear ${room}, got ${got}`);
    }

    /** A client of each of those servers in the room of one photo. */
    async function watchers(t, on, clientOptions = {}) {
      const photoId = unique('photo');
      const clients = await Promise.all(on.map(async (server) => {
        const client = await Client.identified(t, server, { reconnection: false, ...clientOptions });
        await client.asks('subscribe:photo', { photoId });
        return Object.assign(client, { photoId, room: `photo:${photoId}` });
      }));
      await heard(`photo:${photoId}`, new Set(on).size);
      await Promise.all(clients.map((client) => heard(client.socket.id, 1)));
      return clients;
    }

    const watcher = async (t, on, clientOptions) => (await watchers(t, [on], clientOptions))[0];

    test('published events reach the clients of all servers, once and in order', async (t) => {
      const peer = await node(t);
      const clients = await watchers(t, [peer, ...servers]);
      const [{ photoId }] = clients;
      const plain = numbered(photoId, 0, 50);
      const durable = numbered(photoId, 50, 100);
      await publish(redis, ...plain);
      await Promise.all(clients.map((client) => client.received('processing.event', 50)));
      await publish(redis, ...plain.slice(0, 10));
      await add(redis, ...durable, ...plain.slice(10, 20), ...numbered(photoId, 100, 101));
      for (const client of clients) {
        await client.received('processing.event', 101);
        assert.deepEqual(numbers(client), range(101));
        assert.equal(client.inbox.at(-1).args.length, 1, 'no offset: there is nothing to come back to');
      }
    });

    test('events reach clients that poll', async (t) => {
      const peer = await node(t);
      const client = await watcher(t, servers[0], TRANSPORTS.polling);
      await publish(redis, ...numbered(client.photoId, 0, 100));
      for (const n of range(100)) peer.io.to(client.room).emit('n', n);
      await client.received('processing.event', 100);
      assert.deepEqual(numbers(client), range(100));
      await client.received('n', 100);
      assert.deepEqual(client.bodies('n'), range(100));
    });

    test("Node's broadcasts reach our clients, with all that JSON and binary can hold", async (t) => {
      const peer = await node(t);
      const [client] = await watchers(t, servers, TRANSPORTS.websocket);
      const other = await watcher(t, servers[1]);
      const args = [{ a: [1, 2.5, null, 'ü"\\\n'], deep: { x: true } }, 'text', 12345678901, null, [[]]];
      peer.io.to(client.room).emit('plain', ...args);
      peer.io.to(client.room).emit('binary', Buffer.from([0, 1, 255]), { inside: [new Uint8Array([7, 8])] }, 'end');
      peer.io.to([client.room, other.room]).emit('once', 1);
      peer.io.except(client.room).emit('others', 1);
      peer.io.volatile.to(client.room).emit('volatile', 1);
      peer.io.to(client.socket.id).emit('direct', 1);
      await client.received('direct', 1);
      await client.received('volatile', 1);
      await other.received('others', 1);
      const got = (event) => client.inbox.filter((e) => e.name === event).map((e) => e.args);
      assert.deepEqual(got('plain'), [args]);
      const [[first, second, end], ...more] = got('binary');
      assert.deepEqual([...new Uint8Array(first)], [0, 1, 255]);
      assert.deepEqual([...new Uint8Array(second.inside[0])], [7, 8]);
      assert.deepEqual([end, more], ['end', []]);
      assert.deepEqual(got('once'), [[1]]);
      assert.deepEqual(got('others'), []);
      assert.deepEqual(got('volatile'), [[1]]);
      assert.deepEqual(got('direct'), [[1]]);
      assert.deepEqual(other.bodies('direct'), []);
    });

    test('Node finds our sockets', async (t) => {
      const peer = await node(t);
      const clients = await watchers(t, [...servers, peer]);
      const [client] = clients;
      const found = await peer.io.in(client.room).fetchSockets();
      assert.deepEqual(found.map(({ id }) => id).sort(), clients.map(({ socket }) => socket.id).sort());
      const ours = found.find(({ id }) => id === client.socket.id);
      assert.deepEqual([...ours.rooms].sort(),
        [client.socket.id, `client:${client.clientId}`, client.room, `session:${client.sessionId}`, `user:${client.user}`].sort());
      assert.equal(ours.data.user.id, client.user);
      assert.equal(JSON.stringify(ours.handshake).includes('eyJ'), false, 'no token leaves the server');
      assert.deepEqual((await peer.io.in(client.room).except(`user:${client.user}`).fetchSockets()).length, clients.length - 1);
      assert.deepEqual(await peer.io.in('nowhere').fetchSockets(), []);
      if (kind === 'classic') {
        const rooms = await peer.io.of('/').adapter.allRooms();
        for (const one of clients) {
          for (const room of [one.room, one.socket.id, `client:${one.clientId}`]) assert.ok(rooms.has(room), room);
        }
      }
    });

    test('Node moves our sockets between rooms, and disconnects them', async (t) => {
      const peer = await node(t);
      const client = await watcher(t, servers[0]);
      const [extra, more] = [unique('extra'), unique('more')];
      peer.io.in(client.room).socketsJoin([extra, more]);
      await heard(extra, 1);
      await heard(more, 1);
      peer.io.to(extra).emit('hello', 1);
      peer.io.to([more]).emit('hello', 2);
      await client.received('hello', 2);
      peer.io.in(more).socketsLeave(extra);
      peer.io.to([extra, 'nowhere']).emit('hello', 3);
      peer.io.to([more, 'nowhere']).emit('still', 1);
      await client.received('still', 1);
      assert.deepEqual(client.bodies('hello').sort(), [1, 2]);
      await heard(extra, 0);
      peer.io.in(more).disconnectSockets();
      assert.equal(await client.disconnected(), 'io server disconnect');
      const closed = await watcher(t, servers[1]);
      peer.io.in(closed.socket.id).disconnectSockets(true);
      await closed.disconnected();
    });

    test('Node asks our clients and gets their answers', async (t) => {
      const peer = await node(t);
      const clients = await watchers(t, [...servers, peer]);
      for (const [i, client] of clients.entries()) client.socket.on('question', (x, ack) => ack({ from: i, x }));
      const { room } = clients[0];
      const answers = await peer.io.to(room).timeout(10_000).emitWithAck('question', 'why');
      assert.deepEqual(answers.sort((a, b) => a.from - b.from), range(3).map((from) => ({ from, x: 'why' })));
      for (const client of clients) {
        client.socket.off('question');
        client.socket.on('question', (x, ack) => ack(Buffer.from([...new Uint8Array(x), 9])));
      }
      const binary = await peer.io.to(room).timeout(10_000).emitWithAck('question', Buffer.from([1, 2]));
      assert.deepEqual(binary.map((b) => [...new Uint8Array(b)]), range(3).map(() => [1, 2, 9]));
      assert.deepEqual(await peer.io.to('nowhere').timeout(300).emitWithAck('question', 1).catch((error) => error.responses), []);
    });

    test('redis-emitter reaches, moves and disconnects our clients', async (t) => {
      const emitter = new Emitter(redis.client);
      const clients = await watchers(t, servers);
      const [{ room }] = clients;
      const last = unique('last');
      emitter.to(room).emit('one', { n: 1 });
      emitter.to([room, 'nowhere']).emit('several', Buffer.from([9]));
      emitter.except(room).emit('others', 1);
      emitter.to(room).emit('one', { n: 1 });
      emitter.emit(last, 1);
      for (const client of clients) {
        await client.received(last, 1);
        assert.deepEqual(client.bodies('one'), [{ n: 1 }, { n: 1 }]);
        assert.deepEqual(client.bodies('several').map((b) => [...new Uint8Array(b)]), [[9]]);
        assert.deepEqual(client.bodies('others'), []);
      }
      const joined = unique('joined');
      emitter.in(room).socketsJoin(joined);
      emitter.in(room).socketsLeave(room);
      emitter.to(joined).emit('hello', 1);
      for (const client of clients) await client.received('hello', 1);
      emitter.to(room).emit('left', 1);
      emitter.in(joined).disconnectSockets();
      for (const client of clients) {
        assert.equal(await client.disconnected(), 'io server disconnect');
        assert.deepEqual(client.bodies('left'), []);
      }
    });

    test('who returns is told that it was not recovered', async (t) => {
      const client = await watcher(t, servers[0], { reconnection: true });
      const { id } = client.socket;
      client.drop();
      await client.disconnected();
      assert.equal(await client.connected(1), false);
      assert.notEqual(client.socket.id, id);
      assert.equal(client.socket._pid, undefined);
    });

    test('what is nothing of the kind is counted and dropped', async (t) => {
      const client = await watcher(t, servers[0]);
      const invalid = async () => (await servers[0].metrics()).value('eventbus_peers_invalid_total');
      const publishOn = async (channel, payload) => {
        await redis.client.publish(channel, payload);
        if (kind === 'sharded') await redis.client.call('SPUBLISH', channel, payload);
      };
      const was = await invalid();
      const bad = [
        ['socket.io#/#', Buffer.from([0x93, 1, 2])],
        ['socket.io#/#', Buffer.from([0xc1])],
        ['socket.io#/#', '{"type":3,"uid":"x","nsp":"/","data":'],
        ['socket.io#/#', '{"type":3,"uid":"x","nsp":"/","data":{"packet":{"type":2,"data":["disconnect"]},"opts":{"rooms":[]}}}'],
        ['socket.io-request#/#', 'nonsense'],
        ['socket.io-request#/#', '{"type":3}'],
        ['socket.io-request#/#', `${'['.repeat(5000)}`],
      ];
      for (const [channel, payload] of bad) await publishOn(channel, payload);
      const want = kind === 'sharded' ? bad.length + 4 : bad.length;
      await until(async () => await invalid() >= was + want, async () => `${want} more than ${was} invalid, got ${await invalid()}`);
      await publish(redis, ...numbered(client.photoId, 0, 3));
      await client.received('processing.event', 3);
      assert.equal(await invalid(), was + want);
      assert.deepEqual(client.bodies('disconnect'), []);
    });

    test('clients who leave leave nothing behind', async (t) => {
      const peer = await node(t);
      const before = await redis.client.call('PUBSUB', 'SHARDCHANNELS');
      const clients = await watchers(t, [...servers, ...servers, peer]);
      for (const client of clients) client.close();
      await Promise.all(servers.map((server) => server.clients(0)));
      let left; // a client of an earlier test may have been there before
      await until(async () => {
        left = (await redis.client.call('PUBSUB', 'SHARDCHANNELS')).filter((channel) => !before.includes(channel));
        return left.length === 0;
      }, () => `${before} to be all, got ${left} besides`);
      for (const server of servers) assert.equal((await server.metrics()).value('eventbus_peers_dropped_total'), 0);
    });
  });
}

describe('two of ours alone', () => {
  for (const [name, { env }] of Object.entries(VARIANTS).filter(([, { kind, mode }]) => kind === 'classic' || mode === 'dynamic')) {
    test(`${name}: what a killed leader heard and did not publish, the other one does, and nothing twice`, async (t) => {
      const redis = await RedisServer.start();
      cleanup(t, () => redis.remove());
      const servers = await Promise.all(range(2).map(() => startServer(redis, env)));
      servers.forEach((server) => cleanup(t, () => server.stop()));
      const channel = 'photo:processing';
      let leader;
      await until(async () => {
        const leads = await Promise.all(servers.map(async (s) => (await s.metrics()).value('eventbus_leases_held', { channel })));
        leader = leads.indexOf(1);
        return leader >= 0;
      }, () => 'a leader');
      const other = servers[1 - leader];
      const client = await Client.identified(t, other, { reconnection: false });
      const photoId = unique('photo');
      await client.asks('subscribe:photo', { photoId });
      const waiting = async () => (await other.metrics()).value('eventbus_waiting_events', { channel });
      await publish(redis, ...numbered(photoId, 0, 20));
      await client.received('processing.event', 20);
      await until(async () => await waiting() === 0, async () => `the other to know what is published, ${await waiting()} wait`);
      servers[leader].signal('SIGSTOP'); // it hears, and does nothing with it
      await publish(redis, ...numbered(photoId, 20, 40));
      servers[leader].signal('SIGKILL');
      await client.received('processing.event', 40, 30_000);
      await publish(redis, ...numbered(photoId, 40, 60));
      await client.received('processing.event', 60);
      assert.deepEqual(numbers(client), range(60));
    });
  }
});
