// Two replicas behind a load balancer that knows no sessions: clients that poll never notice.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { until } from './lib/await.mjs';
import { Balancer, elsewhere, roundRobin } from './lib/requests.mjs';
import { cleanup } from './lib/cleanup.mjs';
import { CLIENTS, Client, TRANSPORTS } from './lib/client.mjs';
import { numbered, numbers, publish, range } from './lib/events.mjs';
import { RedisServer } from './lib/redis.mjs';
import { startServer } from './lib/server.mjs';
import { unique } from './lib/tokens.mjs';

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

/** How many requests a server has passed to the other. */
async function forwarded(server, outcome = 'served') {
  return (await server.metrics()).value('eventbus_forwarded_requests_total', { outcome });
}

/** Everything there is to a session: acks, requests in a row, many events in order, all without a disconnect. */
async function lives(t, client) {
  const photoId = unique('photo');
  await client.asks('subscribe:photo', { photoId });
  await publish(redis, ...numbered(photoId, 0, 100));
  await client.received('processing.event', 100);
  assert.deepEqual(numbers(client), range(100));
  for (let i = 0; i < 20; i++) await client.ask('heartbeat');
  assert.equal(client.bodies('heartbeat').length, 20);
  assert.deepEqual(client.states.map(({ state }) => state), ['connect']);
}

for (const [version, io] of Object.entries(CLIENTS)) {
  for (const [name, choose] of Object.entries({ roundRobin, elsewhere })) {
    test(`client ${version}, ${name}: polls`, async (t) => {
      const before = await forwarded(servers[1]);
      const client = await Client.identified(t, await Balancer.start(t, servers, choose), { io, ...TRANSPORTS.polling });
      await lives(t, client);
      assert.equal(client.socket.io.engine.transport.name, 'polling');
      if (choose === elsewhere) assert.ok(await forwarded(servers[1]) - before > 20, 'nothing was forwarded');
    });

    test(`client ${version}, ${name}: upgrades`, async (t) => {
      const client = await Client.identified(t, await Balancer.start(t, servers, choose), { io, ...TRANSPORTS.upgrade });
      await until(() => client.socket.io.engine.transport.name === 'websocket', 'an upgrade');
      await lives(t, client);
      client.drop();
      await client.disconnected();
      await client.connected(1);
    });
  }
}

test('twenty clients at once, all transports', async (t) => {
  const balancer = await Balancer.start(t, servers);
  const transports = Object.values(TRANSPORTS);
  await Promise.all(Array.from({ length: 20 }, async (_, i) => {
    await lives(t, await Client.identified(t, balancer, transports[i % transports.length]));
  }));
});

for (const [transport, options] of Object.entries({ polling: TRANSPORTS.polling, upgrade: TRANSPORTS.upgrade })) {
  for (const signal of ['SIGTERM', 'SIGKILL']) {
    for (const [role, victim] of [["the session's replica", 0], ['the replica between', 1]]) {
      test(`${transport}: ${role} goes by ${signal}`, async (t) => {
        const pair = await Promise.all([startServer(redis), startServer(redis)]);
        for (const server of pair) cleanup(t, () => server.stop());
        let choose = elsewhere;
        const client = await Client.identified(t, await Balancer.start(t, pair, (...args) => choose(...args)), options);
        if (transport === 'upgrade') await until(() => client.socket.io.engine.transport.name === 'websocket', 'an upgrade');
        await until(async () => await forwarded(pair[1]) > 0, 'a forwarded request');
        const survivor = 1 - victim;
        pair[victim].signal(signal);
        choose = () => survivor; // as a balancer does that looks at readiness
        await client.disconnected();
        await client.connected(1);
        await client.identify();
        const photoId = unique('photo');
        await client.asks('subscribe:photo', { photoId });
        await publish(redis, ...numbered(photoId, 0, 10));
        await until(() => numbers(client).length >= 10, 'ten events');
        assert.deepEqual(numbers(client), range(10));
        const clean = signal === 'SIGTERM' ? { code: 0, signal: null } : { code: null, signal };
        assert.deepEqual(await pair[victim].exit(), clean);
      });
    }
  }
}
