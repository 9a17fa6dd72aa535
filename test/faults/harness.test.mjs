// What the scenarios stand on: the balancer, the link, chance that repeats itself, publishers that try again.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { test } from 'node:test';
import { until, within } from '../lib/await.mjs';
import { Balancer } from '../lib/balancer.mjs';
import { cleanup } from '../lib/cleanup.mjs';
import { range } from '../lib/events.mjs';
import { Link } from '../lib/link.mjs';
import { Random } from '../lib/random.mjs';
import { Publisher } from './publisher.mjs';
import { runs } from './scenarios.mjs';

/** A server that greets with its name and echoes. */
async function greeter(t, name) {
  const sockets = new Set();
  const listener = createServer((socket) => {
    sockets.add(socket.on('error', () => {}));
    socket.write(name);
    socket.pipe(socket);
  });
  await new Promise((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const stop = async () => {
    sockets.forEach((socket) => socket.destroy());
    if (listener.listening) await new Promise((resolve) => listener.close(resolve));
  };
  cleanup(t, stop);
  return { name, port: listener.address().port, stop };
}

/** A client that keeps what it hears. */
function call(t, port) {
  const socket = connect(Number(port), '127.0.0.1').setEncoding('utf8');
  const client = { socket, text: '' };
  socket.on('data', (text) => { client.text += text; });
  socket.on('error', (error) => { client.error = error.code; });
  socket.on('close', () => { client.closed = true; });
  cleanup(t, () => socket.destroy());
  client.hears = (text) => until(() => client.text === text, () => `${text}, heard ${client.text}`);
  client.ends = () => until(() => client.closed, 'the end of the connection');
  return client;
}

/** The same, connected. */
async function dial(t, port) {
  const client = call(t, port);
  await within(once(client.socket, 'connect'), 'a connection');
  client.localPort = client.socket.localPort;
  return client;
}

async function balanced(t, backends) {
  const balancer = await Balancer.start(backends);
  cleanup(t, () => balancer.close());
  return { balancer, port: new URL(balancer.url).port };
}

test('the balancer takes turns and knows who went where', async (t) => {
  const backends = [await greeter(t, 'A'), await greeter(t, 'B'), await greeter(t, 'C')];
  const { balancer, port } = await balanced(t, backends);
  const names = [];
  for (let i = 0; i < 6; i += 1) {
    const client = await dial(t, port);
    await until(() => client.text !== '', 'a greeting');
    assert.equal(balancer.backendOf(client.localPort), client.text);
    names.push(client.text);
  }
  assert.deepEqual(names.slice(3), names.slice(0, 3));
  assert.deepEqual([...names].sort(), ['A', 'A', 'B', 'B', 'C', 'C']);
});

test('the balancer passes by who refuses, ends connections both ways, and keeps what the client said first', async (t) => {
  const a = await greeter(t, 'A');
  const b = await greeter(t, 'B');
  const { balancer, port } = await balanced(t, [a, b]);
  await a.stop();
  for (let i = 0; i < 4; i += 1) {
    const client = await dial(t, port);
    client.socket.write('hello');
    await client.hears('Bhello');
    if (i < 3) continue;
    await b.stop();
    await client.ends();
  }
  await (await dial(t, port)).ends(); // nobody is left
  const c = await greeter(t, 'C');
  balancer.use([c]);
  await (await dial(t, port)).hears('C');
});

async function linked(t) {
  const server = await greeter(t, 'A');
  const link = await Link.start(server.port);
  cleanup(t, () => link.close());
  return link;
}

test('a link resets connections and takes new ones', async (t) => {
  const link = await linked(t);
  const client = await dial(t, link.port);
  await client.hears('A');
  link.reset();
  await client.ends();
  assert.equal(client.error, 'ECONNRESET');
  await (await dial(t, link.port)).hears('A');
});

test('a cut link resets new connections too, until it is mended', async (t) => {
  const link = await linked(t);
  const client = await dial(t, link.port);
  await client.hears('A');
  link.cut();
  await client.ends();
  const next = call(t, link.port);
  await next.ends();
  assert.equal(next.text, '');
  link.mend();
  await (await dial(t, link.port)).hears('A');
});

test('a frozen link passes nothing and loses nothing', async (t) => {
  const link = await linked(t);
  const server = await greeter(t, 'witness');
  const client = await dial(t, link.port);
  await client.hears('A');
  link.freeze();
  const big = 'x'.repeat(3_000_000); // more than any buffer on the way
  client.socket.write(big);
  const late = await dial(t, link.port);
  late.socket.write('hello');
  for (let i = 0; i < 20; i += 1) await (await dial(t, server.port)).hears('witness'); // time enough for what leaks
  assert.equal(client.text, 'A');
  assert.equal(late.text, '');
  link.thaw();
  await client.hears(`A${big}`);
  await late.hears('Ahello');
});

test('chance repeats itself, and is spread', () => {
  const draw = (seed) => {
    const random = new Random(seed);
    const fork = random.fork();
    return [...range(50).map(() => random.next()), ...range(50).map(() => fork.between(5, 6)), random.pick(['a', 'b', 'c'])];
  };
  assert.deepEqual(draw(7), draw(7));
  assert.notDeepEqual(draw(7), draw(8));
  const many = range(10_000).map((() => { const random = new Random(1); return () => random.next(); })());
  assert.ok(many.every((x) => x >= 0 && x < 1));
  assert.ok(Math.abs(many.reduce((sum, x) => sum + x) / many.length - 0.5) < 0.02);
});

/** A Redis that keeps what it gets and fails now and then, before or after it has kept it. */
class Fickle {
  entries = [];
  attempts = 0;

  async xadd(...args) {
    this.attempts += 1;
    const turn = this.attempts % 5;
    if (turn === 0) throw new Error('lost on the way there');
    this.entries.push(args.at(-1));
    if (turn === 1) throw new Error('lost on the way back');
  }

  async xrange() {
    return this.entries.map((json, i) => [`${i}-0`, ['event', json]]);
  }

  disconnect() {}
}

async function publishes(options) {
  const redis = new Fickle();
  const publisher = new Publisher(redis, ['p', 'q'], { mode: 'durable', rate: 1000, random: new Random(1), ...options });
  publisher.start();
  await until(() => redis.attempts > 40, 'some attempts');
  await publisher.stop();
  return { redis, publisher };
}

test('a publisher sends again under the same id, in order, until it is confirmed', async () => {
  const { redis, publisher } = await publishes();
  await publisher.mark();
  const first = new Map();
  for (const { id, data } of redis.entries.map(JSON.parse)) first.set(id, data);
  for (const photo of ['p', 'q']) {
    const numbers = [...first.values()].filter(({ photoId }) => photoId === photo).map(({ progress }) => progress);
    assert.deepEqual(numbers, range(publisher.last(photo) + 1));
    assert.equal(publisher.ledgers.get(photo).unsure.size, 0);
  }
  assert.ok(publisher.retried > 5);
  assert.equal(publisher.published, first.size);
  publisher.close();
});

test('a publisher that does not send again is unsure', async () => {
  const { redis, publisher } = await publishes({ retry: false });
  const ids = redis.entries.map((json) => JSON.parse(json).id);
  assert.equal(new Set(ids).size, ids.length);
  const unsure = [...publisher.ledgers.values()].reduce((sum, ledger) => sum + ledger.unsure.size, 0);
  assert.equal(unsure, redis.attempts - publisher.published);
  publisher.close();
});

test('a publisher tells what Redis forgot, and notices when it was out of order itself', async () => {
  const { redis, publisher } = await publishes();
  const count = async () => [...(await publisher.forgotten()).values()].map(({ size }) => size);
  assert.deepEqual(await count(), [0, 0]);
  const { id, data } = JSON.parse(redis.entries.at(-1));
  redis.entries = redis.entries.filter((json) => JSON.parse(json).id !== id);
  assert.deepEqual((await publisher.forgotten()).get(data.photoId), new Set([data.progress]));
  redis.entries.reverse();
  await assert.rejects(publisher.forgotten(), /was published after/);
  publisher.close();
});

test('every scenario has a mode, and each run is there once in both lengths', () => {
  for (const long of [false, true]) {
    const names = runs({ long }).map(({ name, mode }) => `${name} ${mode}`);
    assert.equal(new Set(names).size, names.length);
    assert.equal(names.length, 22);
  }
});
