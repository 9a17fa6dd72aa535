// Official clients of three versions against both servers: what works with the one works with the other.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../lib/await.mjs';
import { Client, VERSIONS } from './lib/official.mjs';
import { twins } from './lib/twins.mjs';

/** A test of each version, or of some, against each server. */
function everywhere(name, script, versions = Object.keys(VERSIONS)) {
  for (const version of versions) {
    for (const which of ['node', 'go']) {
      test(`${which}, client ${version}: ${name}`, (t) => {
        const twin = twins[which];
        const connect = (options) => Client.connect(VERSIONS[version], twin, t, options);
        return script(connect, { t, twin, io: VERSIONS[version] });
      });
    }
  }
}

const TRANSPORTS = { polling: ['polling'], websocket: ['websocket'], upgrade: ['polling', 'websocket'] };
const bytes = (...values) => Buffer.from(values);
const count = (n) => Array.from({ length: n }, (_, i) => i);

for (const [how, transports] of Object.entries(TRANSPORTS)) {
  everywhere(`by ${how}: events, acks and binary`, async (connect) => {
    const client = await connect({ transports, auth: { token: 'x' } });
    assert.deepEqual(await client.received('auth', 1), [{ token: 'x' }]);
    const values = [1, 'two', null, true, { a: [1.5, 'ünï☃😀'] }, [], ''];
    assert.deepEqual(await client.ask('echo', ...values), values);
    client.socket.emit('echo', ...values);
    assert.deepEqual(await client.received('echoed', 1), [values]);

    assert.deepEqual(await client.ask('binary', bytes(0, 255, 1)), [bytes(0, 255, 1)]);
    assert.deepEqual(await client.ask('binary', bytes()), [bytes()]);
    const parcel = { file: bytes(1), parts: [bytes(2), bytes(), bytes(3, 4)], n: 7 };
    assert.deepEqual(await client.ask('parcel', parcel), [parcel]);
    const large = Buffer.alloc(300_000, 'x');
    assert.deepEqual(await client.ask('binary', large), [large]);
    client.socket.emit('binary back', bytes(9));
    assert.deepEqual(await client.received('binary', 1), [bytes(9)]);
  });

  everywhere(`by ${how}: many events stay in order`, async (connect) => {
    const client = await connect({ transports });
    client.socket.emit('burst', 2000);
    const answers = count(500).map((n) => client.ask('echo', n));
    assert.deepEqual(await Promise.all(answers), count(500).map((n) => [n]));
    assert.deepEqual(await client.received('n', 2000), count(2000));
  });
}

everywhere('upgrades under load, with nothing lost, doubled or out of order', async (connect) => {
  const client = await connect();
  const answered = [];
  let sent = 0;
  // Both ways all the time, until the upgrade is through and some more.
  await until(() => {
    for (let i = 0; i < 20; i++) client.socket.emit('echo', sent++, (n) => answered.push(n));
    client.socket.emit('echo', bytes(sent % 256), () => {});
    client.socket.emit('burst', 5);
    return client.transport === 'websocket' && sent > 500;
  }, () => `an upgrade, still ${client.transport}`);
  await until(() => answered.length === sent, () => `${sent} answers, got ${answered.length}`);
  assert.deepEqual(answered, count(sent));
  assert.deepEqual(client.states, ['connect']);
  const bursts = sent / 20;
  assert.deepEqual(await client.received('n', 5 * bursts), count(bursts).flatMap(() => count(5)));
});

everywhere('the server asks, the client answers', async (connect) => {
  const client = await connect();
  client.socket.on('question', (n, ack) => ack(n, { n }, [n]));
  client.socket.emit('ask', 5);
  assert.deepEqual(await client.received('answered', 1), [[5, { n: 5 }, [5]]]);
});

everywhere('an ack that never comes times out', async (connect) => {
  const client = await connect();
  const error = await new Promise((resolve) => client.socket.timeout(50).emit('nobody', resolve));
  assert.match(error.message, /timed out/);
  const [late, answer] = await new Promise((resolve) => client.socket.timeout(10_000).emit('echo', 1, (...args) => resolve(args)));
  assert.deepEqual([late, answer], [null, 1]);
  assert.equal(await client.socket.timeout(10_000).emitWithAck('echo', 2), 2);
}, ['4.8']);

everywhere('volatile', async (connect) => {
  const client = await connect({ transports: ['websocket'] });
  await until(() => { // a client drops one too while its transport is busy
    client.socket.volatile.emit('volatile', { n: 1 });
    return client.got('said').length > 0;
  }, 'a volatile event');
  assert.deepEqual(client.got('said')[0], { n: 1 });
});

everywhere('namespaces over one connection', async (connect, { t }) => {
  const root = await connect();
  const custom = new Client(root.socket.io.socket('/custom', { auth: { a: 1 } }), t);
  const strange = new Client(root.socket.io.socket('/a b/ü'), t);
  const unknown = new Client(root.socket.io.socket('/unknown'), t);
  await Promise.all([custom.state('connect'), strange.state('connect'), unknown.state('refused Invalid namespace')]);
  assert.equal(new Set([root, custom, strange].map(({ socket }) => socket.id)).size, 3);
  assert.deepEqual(await custom.received('auth', 1), [{ a: 1 }]);
  assert.deepEqual(await custom.ask('echo', 1), [1]);
  assert.deepEqual(await strange.ask('binary', bytes(1)), [bytes(1)]);
  custom.socket.emit('leave me');
  await custom.state('disconnect io server disconnect');
  assert.deepEqual(await root.ask('echo', 2), [2]);
  custom.socket.connect();
  await custom.state('connect', 2);
  custom.socket.disconnect();
  assert.deepEqual(await root.ask('echo', 3), [3]);
});

everywhere('a namespace that refuses', async (connect) => {
  const refused = await connect({ nsp: '/auth' });
  assert.deepEqual([refused.states, refused.error.data], [['refused no token'], undefined]);
  refused.socket.auth = { token: 'bad' };
  refused.socket.connect();
  await refused.state('refused wrong token');
  assert.deepEqual(refused.error.data, { token: 'bad', tries: [1, null] });
  refused.socket.auth = (done) => done({ token: 'good' });
  refused.socket.connect();
  await refused.state('connect');
});

everywhere('rooms', async (connect) => {
  const [ann, bob, cid] = await Promise.all([connect(), connect({ transports: ['polling'] }), connect({ transports: ['websocket'] })]);
  await Promise.all([ann.ask('join', 'r'), bob.ask('join', 'r')]);
  assert.deepEqual(await ann.ask('rooms'), [['r']]);
  cid.socket.emit('say', 'r', { n: 1 });
  await Promise.all([ann.received('said', 1), bob.received('said', 1)]);
  await ann.ask('leave', 'r');
  cid.socket.emit('say', 'r', { n: 2 });
  cid.socket.emit('say', ann.socket.id, { n: 3 }); // an id is a room
  cid.socket.emit('tell others', { n: 4 });
  const only = (client, ...wanted) => until(() => client.got('said').length >= wanted.length, 'what was said')
    .then(() => client.ask('echo')) // what else was said would have come by now
    .then(() => assert.deepEqual(client.got('said').map(({ n }) => n).filter((n) => n < 4 || wanted.includes(n)), wanted));
  await only(ann, 1, 3, 4);
  await only(bob, 1, 2, 4);
  assert.deepEqual(cid.got('said').filter(({ n }) => n < 4), []);
});

everywhere('the server disconnects, and the client comes back at once', async (connect) => {
  const client = await connect({ transports: ['websocket'] });
  client.socket.on('disconnect', () => client.socket.connect());
  for (let i = 2; i < 30; i++) {
    client.socket.emit('leave me');
    await client.state('connect', i);
  }
  // Older clients close the connection of their last namespace on the way.
  const strange = client.states.filter((s) => !['connect', 'disconnect io server disconnect', 'disconnect forced close'].includes(s));
  assert.deepEqual(strange, []);
});

everywhere('the server closes, and the client comes back by itself', async (connect) => {
  const client = await connect();
  client.socket.emit('close me');
  await until(() => client.states.some((state) => state.startsWith('disconnect')), 'a disconnect');
  const [, reason] = client.states;
  assert.ok(['disconnect io server disconnect', 'disconnect transport close'].includes(reason), reason);
});

everywhere('a message that is too big ends the connection, and the client comes back', async (connect) => {
  const client = await connect({ transports: ['websocket'] });
  client.socket.emit('echo', 'x'.repeat(1_100_000));
  await client.state('connect', 2);
  assert.deepEqual(await client.ask('echo', 1), [1]);
});

for (const [how, transports] of Object.entries(TRANSPORTS)) {
  everywhere(`by ${how}: recovery`, async (connect) => {
    const [client, other] = await Promise.all([connect({ transports }), connect()]);
    await client.ask('join', 'r');
    other.socket.emit('say', 'r', { n: 0 });
    await client.received('said', 1);
    if (how === 'upgrade') await until(() => client.transport === 'websocket', 'an upgrade');
    const { id } = client.socket;
    let said = 1;
    for (let round = 2; round < 6; round++) {
      client.drop();
      for (let i = 0; i < 5; i++) other.socket.emit('say', 'r', { n: said++ });
      await other.ask('echo');
      await client.state('connect', round);
      assert.equal(client.socket.recovered, true);
      assert.equal(client.socket.id, id);
      other.socket.emit('say', 'r', { n: said++ });
      await client.received('said', said);
      assert.deepEqual(client.got('said').map(({ n }) => n), count(said));
      assert.deepEqual(await client.ask('rooms'), [['r']]);
    }
  }, ['4.8']);
}

// A client takes the last argument of any event for its offset, if it is text.
everywhere('recovery after an event that ends with text', async (connect) => {
  const client = await connect();
  client.socket.emit('tell me', 'text');
  assert.deepEqual(await client.received('told', 1), ['text']);
  client.drop();
  await client.state('connect', 2);
  assert.equal(client.socket.recovered, true);
}, ['4.8']);

everywhere('clients that know no recovery come back as new ones', async (connect) => {
  const client = await connect();
  await client.ask('join', 'r');
  const { id } = client.socket;
  client.drop();
  await client.state('connect', 2);
  assert.notEqual(client.socket.id, id);
  assert.deepEqual(await client.ask('rooms'), [[]]);
}, ['4.0', '3.1']);
