// Programs that embed our engine in a cluster, beside a Node server with the same adapter: each tells and asks the other.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { until, within } from './lib/await.mjs';
import { cleanup } from './lib/cleanup.mjs';
import { Client } from './lib/client.mjs';
import { range } from './lib/events.mjs';
import { startNode } from './lib/node.mjs';
import { Program } from './lib/process.mjs';
import { RedisServer } from './lib/redis.mjs';
import { unique } from './lib/tokens.mjs';

const dir = mkdtempSync(join(tmpdir(), 'cluster-'));
process.on('exit', () => rmSync(dir, { recursive: true, force: true }));
const binary = join(dir, 'server');

before(() => {
  execFileSync('go', ['build', '-o', binary, '.'], { cwd: fileURLToPath(new URL('./cluster/server', import.meta.url)), stdio: 'inherit' });
});

/** A server of ours that does as it is told. */
class Ours {
  notes = []; // arguments of the event "note" from other servers
  #answers = new Map();
  #count = 0;

  static async start(t, redis, args) {
    const ours = new Ours();
    ours.program = new Program(binary, [`--redis=redis://127.0.0.1:${redis.port}`, ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
    cleanup(t, async () => {
      const { code } = await ours.program.stop();
      assert.equal(code, 0, ours.program.stderr);
    });
    let rest = '';
    ours.program.child.stdout.on('data', (text) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop();
      lines.forEach((line) => ours.#hear(JSON.parse(line)));
    });
    await until(() => {
      if (ours.program.end) throw new Error(`ended: ${ours.program.stderr}`);
      return ours.url;
    }, () => `a listening line\n${ours.program.stderr}`);
    return ours;
  }

  #hear({ listening, note, id, result, error }) {
    if (listening) this.url = `http://127.0.0.1:${listening}`;
    else if (note) this.notes.push(note);
    else this.#answers.get(id)({ result, error });
  }

  /** Has it do something and resolves with { result, error }. */
  tries(what, details = {}) {
    const id = ++this.#count;
    const answer = new Promise((resolve) => this.#answers.set(id, resolve));
    this.program.child.stdin.write(`${JSON.stringify({ id, do: what, timeout: 8000, ...details })}\n`);
    return within(answer, () => `the answer to ${what}\n${this.program.stderr}`);
  }

  /** Has it do something that must work. */
  async does(what, details) {
    const { result, error } = await this.tries(what, details);
    assert.equal(error, undefined, what);
    return result;
  }
}

const VARIANTS = {
  streams: { kind: 'streams', args: ['--adapter=streams'] },
  'streams, sharded Pub/Sub': { kind: 'streams', options: { useShardedPubSub: true }, args: ['--adapter=streams', '--sharded'] },
  classic: { kind: 'classic', args: ['--adapter=pubsub'] },
  'classic with specific responses': {
    kind: 'classic', options: { publishOnSpecificResponseChannel: true }, args: ['--adapter=pubsub', '--specific'],
  },
  ...Object.fromEntries(['static', 'dynamic', 'dynamic-private'].map((mode) => [`sharded, ${mode}`, {
    kind: 'sharded', mode, options: { subscriptionMode: mode }, args: ['--adapter=sharded', `--mode=${mode}`],
  }])),
};

const bytes = (...values) => ({ binary: Buffer.from(values).toString('base64') });
const ids = (sockets) => sockets.map(({ id }) => id).sort();

for (const [name, { kind, mode, options, args }] of Object.entries(VARIANTS)) {
  describe(name, () => {
    let redis;

    before(async () => {
      redis = await RedisServer.start();
    });

    after(async () => {
      await redis?.remove();
    });

    /** Node's server and two of ours, with a client each in one room: { peer, ours, others, clients, room }. */
    async function all(t) {
      const peer = await startNode(t, redis, kind, options);
      const ours = await Ours.start(t, redis, args);
      const others = await Ours.start(t, redis, args);
      let count;
      await until(async () => {
        count = await peer.io.of('/').adapter.serverCount();
        return count === 3;
      }, () => `3 servers, got ${count}`);
      const photoId = unique('photo');
      const room = `photo:${photoId}`;
      const clients = await Promise.all([peer, ours, others].map(async (server) => {
        const client = await Client.identified(t, server, { reconnection: false });
        await client.asks('subscribe:photo', { photoId });
        return client;
      }));
      await until(async () => { // Node's streams adapter does not say when it reads
        await ours.does('emit', { rooms: [clients[0].socket.id], event: 'witness', args: [1] });
        return clients[0].bodies('witness').length > 0;
      }, () => 'Node to hear');
      await heard(room, 3);
      for (const { socket } of clients) await heard(socket.id, 1);
      return { peer, ours, others, clients, room };
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

    test('what ours emits reaches all', async (t) => {
      const { ours, clients, room } = await all(t);
      const [atNode, , atOthers] = clients;
      const values = [{ a: [1, 2.5, null, 'ü"\\\n'] }, 'text', null, [[]], 7];
      for (const n of range(30)) await ours.does('emit', { rooms: [room], event: 'n', args: [n] });
      await ours.does('emit', { rooms: [room], event: 'plain', args: values });
      await ours.does('emit', { rooms: [room, 'nowhere'], event: 'binary', args: [bytes(0, 255), 'end', 1] });
      await ours.does('emit', { rooms: [room], except: [atNode.socket.id], event: 'some', args: [1] });
      await ours.does('emit', { except: [atOthers.socket.id], event: 'except', args: [1] });
      await ours.does('volatile', { rooms: [room], event: 'volatile', args: [1] });
      await ours.does('emit', { event: 'end', args: [1] });
      for (const client of clients) {
        await client.received('end', 1);
        assert.deepEqual(client.bodies('n'), range(30));
        const [plain, ...more] = client.inbox.filter((e) => e.name === 'plain').map((e) => e.args.slice(0, values.length));
        assert.deepEqual([plain, more], [values, []]);
        assert.deepEqual(client.bodies('binary').map((b) => [...new Uint8Array(b)]), [[0, 255]]);
        assert.equal(client.bodies('some').length, client === atNode ? 0 : 1);
        assert.equal(client.bodies('except').length, client === atOthers ? 0 : 1);
      }
    });

    test('what Node emits reaches ours', async (t) => {
      const { peer, clients, room } = await all(t);
      for (const n of range(30)) peer.io.to(room).emit('n', n);
      peer.io.to([room, 'nowhere']).emit('binary', Buffer.from([0, 255]), 'end');
      peer.io.to([room, 'nowhere']).except(clients[1].socket.id).emit('some', 1);
      for (const { socket } of clients) peer.io.to(socket.id).emit('direct', socket.id);
      peer.io.emit('end', 1);
      for (const client of clients) {
        await client.received('end', 1);
        await client.received('n', 30);
        await client.received('direct', 1);
        assert.deepEqual(client.bodies('n'), range(30));
        assert.deepEqual(client.bodies('direct'), [client.socket.id]);
        assert.deepEqual(client.bodies('binary').map((b) => [...new Uint8Array(b)]), [[0, 255]]);
        assert.equal(client.bodies('some').length, client === clients[1] ? 0 : 1);
      }
    });

    test('sockets are found from both sides', async (t) => {
      const { peer, ours, clients, room } = await all(t);
      const want = ids(clients.map(({ socket }) => socket));
      const byOurs = await ours.does('fetchSockets', { rooms: [room] });
      assert.deepEqual(ids(byOurs), want);
      const atNode = byOurs.find(({ id }) => id === clients[0].socket.id);
      assert.deepEqual(atNode.rooms.sort(), [...peer.io.of('/').sockets.get(atNode.id).rooms].sort());
      assert.equal(atNode.data.user.id, clients[0].user);
      assert.equal(atNode.handshake.query.EIO, '4');
      const byNode = await peer.io.in(room).fetchSockets();
      assert.deepEqual(ids(byNode), want);
      const atOurs = byNode.find(({ id }) => id === clients[1].socket.id);
      assert.deepEqual([...atOurs.rooms].sort(), [atOurs.id, `client:${clients[1].clientId}`, room, `session:${clients[1].sessionId}`].sort());
      assert.deepEqual(atOurs.data, { clientId: clients[1].clientId });
      assert.equal((await ours.does('fetchSockets', { rooms: [room], except: [clients[0].socket.id] })).length, 2);
      assert.deepEqual(ids(await ours.does('fetchSockets')), want);
      assert.deepEqual(await ours.does('fetchSockets', { rooms: ['nowhere'] }), []);
    });

    test('sockets are moved and disconnected from both sides', async (t) => {
      const { peer, ours, clients, room } = await all(t);
      const [one, two] = [unique('one'), unique('two')];
      await ours.does('socketsJoin', { rooms: [room], into: [one] });
      await until(async () => (await peer.io.in(one).fetchSockets()).length === 3, () => 'all to be in');
      peer.io.in(one).socketsJoin(two);
      await until(async () => (await ours.does('fetchSockets', { rooms: [two] })).length === 3, () => 'all to be in');
      await ours.does('socketsLeave', { rooms: [clients[0].socket.id], into: [one] });
      await until(async () => (await peer.io.in(one).fetchSockets()).length === 2, () => 'one to be out');
      peer.io.in(clients[1].socket.id).socketsLeave(two);
      await until(async () => (await ours.does('fetchSockets', { rooms: [two] })).length === 2, () => 'one to be out');
      await ours.does('disconnectSockets', { rooms: [clients[0].socket.id] });
      assert.equal(await clients[0].disconnected(), 'io server disconnect');
      peer.io.in(clients[1].socket.id).disconnectSockets();
      assert.equal(await clients[1].disconnected(), 'io server disconnect');
      await ours.does('close', { rooms: [room] });
      await clients[2].disconnected();
      await until(async () => (await ours.does('fetchSockets')).length === 0, () => 'nobody to be there');
    });

    test('clients are asked from both sides', async (t) => {
      const { peer, ours, clients, room } = await all(t);
      for (const [i, { socket }] of clients.entries()) socket.on('question', (x, ack) => ack({ from: i, x }));
      const want = range(3).map((from) => ({ from, x: 'why' }));
      const sorted = (answers) => answers.sort((a, b) => a.from - b.from);
      assert.deepEqual(sorted(await ours.does('emitWithAck', { rooms: [room], event: 'question', args: ['why'] })), want);
      assert.deepEqual(sorted(await peer.io.to(room).timeout(10_000).emitWithAck('question', 'why')), want);
      for (const { socket } of clients) {
        socket.off('question');
        socket.on('question', (x, ack) => ack(Buffer.from([...new Uint8Array(x), 9])));
      }
      const answers = await ours.does('emitWithAck', { rooms: [room], event: 'question', args: [bytes(1)] });
      assert.deepEqual(answers, range(3).map(() => Buffer.from([1, 9]).toString('base64')));
      const theirs = await peer.io.to(room).timeout(10_000).emitWithAck('question', Buffer.from([1]));
      assert.deepEqual(theirs.map((b) => [...b]), range(3).map(() => [1, 9]));
      clients[0].socket.off('question');
      const { result, error } = await ours.tries('emitWithAck', { rooms: [room], event: 'question', args: [bytes(1)], timeout: 1000 });
      assert.equal(result.length, 2);
      assert.match(error, /^2 of 3 sockets acknowledged/);
    });

    test('servers tell and ask each other', async (t) => {
      const { peer, ours, others } = await all(t);
      const notes = [];
      peer.io.on('note', (...what) => notes.push(what));
      peer.io.on('question', (...what) => what.pop()({ from: 'node', args: what }));
      await ours.does('serverSideEmit', { event: 'note', args: ['from ours', { n: 1 }] });
      peer.io.serverSideEmit('note', 'from node', { n: 2 });
      await until(() => notes.length > 0 && ours.notes.length > 0 && others.notes.length > 1, () => 'notes');
      assert.deepEqual(notes, [['from ours', { n: 1 }]]);
      assert.deepEqual(ours.notes, [['from node', { n: 2 }]]);
      assert.deepEqual(others.notes.sort(), [['from node', { n: 2 }], ['from ours', { n: 1 }]]);

      const sorted = (answers) => answers.sort((a, b) => (a.from < b.from ? -1 : 1));
      const [go, javascript] = ['go', 'node'].map((from) => ({ from, args: [1, 'two'] }));
      assert.deepEqual(sorted(await ours.does('serverSideEmitWithAck', { event: 'question', args: [1, 'two'] })), [go, javascript]);
      assert.deepEqual(await peer.io.serverSideEmitWithAck('question', 1, 'two'), [go, go]);

      peer.io.of('/').removeAllListeners('question');
      peer.io.on('question', () => {});
      const { result, error } = await ours.tries('serverSideEmitWithAck', { event: 'question', args: [1, 'two'], timeout: 1000 });
      assert.deepEqual(result, [go]);
      assert.equal(error, 'no complete answer from server 1 of unknown name');
    });
  });
}
