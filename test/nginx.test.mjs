// deploy/nginx/nginx.conf itself, run by Debian's nginx in front of two replicas: clients notice nothing of it.
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from './lib/await.mjs';
import { cleanup } from './lib/cleanup.mjs';
import { Client, TRANSPORTS } from './lib/client.mjs';
import { add, numbered, numbers, publish, range } from './lib/events.mjs';
import { Program } from './lib/process.mjs';
import { freePort, RedisServer } from './lib/redis.mjs';
import { startServer } from './lib/server.mjs';
import { unique } from './lib/tokens.mjs';

const CONF = readFileSync(new URL('../deploy/nginx/nginx.conf', import.meta.url), 'utf8');

/** The file with these ports of the replicas, its own port and its own directory; everything else as it is. */
function template(ports, port, directory) {
  let conf = CONF;
  const replace = (from, to) => {
    assert.ok(conf.includes(from), `nginx.conf has no ${from}`);
    conf = conf.replaceAll(from, to);
  };
  ports.forEach((upstream, i) => replace(`eventbus-${i + 1}:3003`, `127.0.0.1:${upstream}`));
  replace('listen 8080;', `listen 127.0.0.1:${port};`);
  replace('/tmp/nginx', join(directory, 'nginx'));
  return conf;
}

/** Whether somebody accepts connections on a port of loopback. */
function answers(port) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    }).once('error', () => resolve(false));
  });
}

class Nginx {
  /** Starts one in front of servers that listen on these ports of loopback. */
  static async start(ports) {
    const nginx = new Nginx();
    nginx.directory = mkdtempSync(join(tmpdir(), 'eventbus-nginx-'));
    chmodSync(nginx.directory, 0o755); // started by root, its workers are somebody else
    const file = join(nginx.directory, 'nginx.conf');
    for (let attempt = 1; ; attempt += 1) {
      const port = await freePort();
      writeFileSync(file, template(ports, port, nginx.directory));
      nginx.program = new Program('nginx', ['-p', nginx.directory, '-e', 'stderr', '-c', file, '-g', 'daemon off;']);
      nginx.url = `http://127.0.0.1:${port}`;
      try {
        await until(() => {
          if (nginx.program.end) throw new Error(`nginx ended: ${nginx.program.stderr}`);
          return answers(port);
        }, () => `nginx\n${nginx.program.stderr}`);
        return nginx;
      } catch (error) {
        if (attempt === 5 || !nginx.program.end) throw error; // somebody may take the port between the probe and the start
      }
    }
  }

  async stop() {
    await this.program.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

let redis;
let servers;
let nginx;

before(async () => {
  redis = await RedisServer.start();
  servers = await Promise.all([startServer(redis), startServer(redis)]);
  nginx = await Nginx.start(servers.map((server) => server.port));
});

after(async () => {
  await nginx?.stop();
  await Promise.all(servers?.map((server) => server.stop()) ?? []);
  await redis?.remove();
});

const sum = async (name, labels) => (await Promise.all(servers.map((server) => server.metrics())))
  .reduce((total, metrics) => total + metrics.value(name, labels), 0);

for (const [name, options] of Object.entries(TRANSPORTS)) {
  test(`${name}: events in order, acks, one connection`, async (t) => {
    const clients = await Promise.all(range(4).map(() => Client.identified(t, nginx, options))); // some on each replica
    const photoId = unique('photo');
    for (const client of clients) {
      await client.asks('subscribe:photo', { photoId });
      if (name === 'upgrade') await until(() => client.socket.io.engine.transport.name === 'websocket', 'an upgrade');
      else assert.equal(client.socket.io.engine.transport.name, name);
    }
    await publish(redis, ...numbered(photoId, 0, 100));
    for (const client of clients) {
      await client.received('processing.event', 100);
      assert.deepEqual(numbers(client), range(100));
      for (let i = 0; i < 10; i += 1) await client.ask('heartbeat');
      assert.deepEqual(client.states.map(({ state }) => state), ['connect']);
    }
  });
}

test('no stickiness: both replicas have clients, and forward to each other', async (t) => {
  await Promise.all(range(6).map(() => Client.identified(t, nginx, TRANSPORTS.polling)));
  for (const server of servers) {
    assert.ok((await server.metrics()).value('eventbus_websocket_connections_total') > 0, 'a replica has no clients');
  }
  assert.ok(await sum('eventbus_forwarded_requests_total', { outcome: 'served' }) > 0, 'nothing was forwarded');
});

test('a request as large as a client may send, an event as it comes, the demo page', async (t) => {
  const client = await Client.identified(t, nginx, TRANSPORTS.polling);
  await client.ask('heartbeat', 'x'.repeat(900_000));
  assert.deepEqual(client.states.map(({ state }) => state), ['connect']);
  for (const path of ['/', '/socket.io/socket.io.js']) {
    const response = await fetch(nginx.url + path);
    await response.arrayBuffer();
    assert.equal(response.status, 200, path);
  }
});

/** The replica that a new client of nginx has got, by its index. */
async function connected(t, front, pair, options) {
  const active = () => Promise.all(pair.map(async (server) => (await server.metrics()).value('eventbus_websocket_active_connections')));
  const before = await active();
  const client = await Client.identified(t, front, options);
  const now = await active();
  return { client, replica: now.findIndex((n, i) => n > before[i]) };
}

for (const signal of ['SIGTERM', 'SIGKILL']) {
  test(`a replica goes by ${signal} and comes back: its clients recover, the others stay`, async (t) => {
    const pair = await Promise.all(range(2).map(() => startServer(redis)));
    const live = [...pair];
    cleanup(t, () => Promise.all(live.map((server) => server.stop())));
    const front = await Nginx.start(pair.map((server) => server.port));
    cleanup(t, () => front.stop());

    const photoId = unique('photo');
    const all = [];
    for (const [name, options] of Object.entries(TRANSPORTS)) {
      for (let i = 0; i < 4; i += 1) {
        const one = await connected(t, front, pair, options);
        await one.client.asks('subscribe:photo', { photoId });
        if (name === 'upgrade') await until(() => one.client.socket.io.engine.transport.name === 'websocket', 'an upgrade');
        all.push({ name, ...one });
      }
    }
    assert.ok(all.some(({ replica }) => replica === 0) && all.some(({ replica }) => replica === 1), 'one replica has all clients');
    await add(redis, ...numbered(photoId, 0, 50));
    for (const { client } of all) await client.received('processing.event', 50);

    pair[0].signal(signal);
    await add(redis, ...numbered(photoId, 50, 100));
    await pair[0].exit();
    await add(redis, ...numbered(photoId, 100, 150));
    for (const { name, client, replica } of all) {
      await until(() => numbers(client).length >= 150, () => `150 events for a client by ${name}, got ${numbers(client).length}: ${JSON.stringify(client.states)}`, 30_000);
      assert.deepEqual(numbers(client), range(150), `by ${name} on replica ${replica}`);
      if (replica === 1 && name === 'websocket') {
        assert.deepEqual(client.states.map(({ state }) => state), ['connect'], 'a client of the other replica was disturbed');
      }
      for (const { state, detail } of client.states.slice(1)) {
        if (state === 'connect') assert.equal(detail, true, `${name}: came back, and was not recovered`);
      }
    }

    // Whoever comes now notices nothing: what begins a session goes to the replica that is left.
    for (const _ of range(4)) await Client.identified(t, front, TRANSPORTS.websocket);

    live[0] = await startServer(redis, { WEBSOCKET_PORT: pair[0].port });
    await until(async () => {
      const client = await Client.identified(t, front, TRANSPORTS.websocket);
      client.close();
      await sleep(100); // nginx remembers for ten seconds that it was away: ask again, not more than it takes
      return (await live[0].metrics()).value('eventbus_websocket_connections_total') > 0;
    }, 'a client on the replica that is back', 30_000);
  });
}

test('a request of a session is never made twice; what begins one is', async (t) => {
  let answer; // (index, response) of what stands for the replicas
  const seen = [];
  const fakes = await Promise.all(range(2).map((i) => new Promise((resolve) => {
    const fake = createServer((request, response) => {
      seen.push(i);
      answer(request, response);
    });
    fake.listen(0, '127.0.0.1', () => resolve(fake));
  })));
  cleanup(t, () => fakes.forEach((fake) => {
    fake.close();
    fake.closeAllConnections();
  }));
  const cases = [
    { what: 'a poll whose answer is cut off', query: 'EIO=4&transport=polling&sid=s', fail: (response) => response.destroy(), status: 502, tries: 1 },
    { what: 'a poll that is refused', query: 'EIO=4&transport=polling&sid=s', fail: (response) => response.writeHead(503).end(), status: 503, tries: 1 },
    { what: 'a message', method: 'POST', query: 'EIO=4&transport=polling&sid=s', fail: (response) => response.destroy(), status: 502, tries: 1 },
    { what: 'a handshake whose answer is cut off', query: 'EIO=4&transport=polling', fail: (response) => response.destroy(), status: 200, tries: 2 },
    { what: 'a handshake at a replica that drains', query: 'EIO=4&transport=polling', fail: (response) => response.writeHead(503).end(), status: 200, tries: 2 },
  ];
  for (const { what, method = 'GET', query, fail, status, tries } of cases) {
    const front = await Nginx.start(fakes.map((fake) => fake.address().port)); // which remembers no failure
    cleanup(t, () => front.stop());
    let body = '';
    answer = (request, response) => {
      request.setEncoding('utf8').on('data', (text) => { body += text; });
      request.on('end', () => (seen.length === 1 ? fail(response) : response.end('ok')));
    };
    const response = await fetch(`${front.url}/socket.io/?${query}`, { method, body: method === 'POST' ? '2["heartbeat"]' : undefined });
    await response.arrayBuffer();
    assert.equal(response.status, status, what);
    assert.equal(seen.length, tries, `${what}: requests ${seen}`);
    assert.equal(body, method === 'POST' ? '2["heartbeat"]' : '', what);
    seen.length = 0;
  }
});
