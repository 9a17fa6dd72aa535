// TLS on both ports, with an authority of the test's own: browsers, operators, and replicas among themselves.
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { request as http } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { WebSocket } from 'ws';
import { eventbus } from './lib/api.mjs';
import { ask, Authority, CertificateFiles, handshake, SecureServer } from './lib/authority.mjs';
import { until, within } from './lib/await.mjs';
import { Client, TRANSPORTS } from './lib/client.mjs';
import { numbered, publish, range } from './lib/events.mjs';
import { parseMetrics } from './lib/metrics.mjs';
import { Program } from './lib/process.mjs';
import { freePort, RedisServer } from './lib/redis.mjs';
import { startInVain } from './lib/server.mjs';
import { SECRET, token } from './lib/tokens.mjs';
import { sees, watching } from './lib/watching.mjs';

const file = { after(undo) { this.end = undo; } }; // what goes with the file
let redis;
let authority;
let stranger; // another authority
let plain; // a server with TLS on its public port alone
let secure; // with TLS on both

before(async () => {
  redis = await RedisServer.start();
  authority = new Authority(file);
  stranger = new Authority(file);
  const files = new CertificateFiles(authority, 'shared').write(authority.sign('the bus'));
  [plain, secure] = await Promise.all([
    SecureServer.start(file, redis, authority, files),
    SecureServer.start(file, redis, authority, files, { HEALTH_TLS: 'true', METRICS_PORT: String(await freePort()) }),
  ]);
});

after(async () => {
  await file.end?.();
  await redis?.remove();
});

describe('the public port', () => {
  for (const [transport, options] of Object.entries(TRANSPORTS)) {
    test(`the official client, ${transport}: connects, subscribes, gets events, recovers`, async (t) => {
      const client = await watching(t, plain, { ca: authority.pem, ...options });
      if (transport === 'upgrade') await until(() => client.socket.io.engine.transport.name === 'websocket', 'an upgrade');
      await publish(redis, ...numbered(client.photoId, 0, 20));
      await sees(client, 20);
      client.drop();
      await publish(redis, ...numbered(client.photoId, 20, 40));
      assert.equal(await client.connected(2), true);
      await sees(client, 40);
    });
  }

  test('who does not trust the authority, does not connect', async (t) => {
    for (const ca of [undefined, stranger.pem]) {
      for (const options of [TRANSPORTS.websocket, TRANSPORTS.polling]) {
        await assert.rejects(Client.connect(t, plain, { ca, reconnection: false, ...options }), /error/);
      }
    }
  });

  test('TLS 1.2 and 1.3, nothing older, and no HTTP in the clear', async () => {
    for (const protocol of ['TLSv1.2', 'TLSv1.3']) {
      assert.equal((await handshake(plain.addresses.websocket, { minVersion: protocol, maxVersion: protocol })).protocol, protocol);
    }
    const old = await handshake(plain.addresses.websocket, { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' });
    assert.ok(old.error, JSON.stringify(old));
    const answer = await fetch(`http://${plain.addresses.websocket}/socket.io/?EIO=4&transport=polling`).then(({ status }) => status, () => 'none');
    assert.ok(answer === 400 || answer === 'none', `${answer}`);
    await plain.health('/health').then(({ status }) => assert.equal(status, 200)); // in the clear, without health-tls
  });
});

test('a certificate that is replaced is shown to who comes next, and nobody is dropped; one that is no good is not taken', async (t) => {
  const files = new CertificateFiles(authority, 'changing').write(authority.sign('first'));
  const server = await SecureServer.start(t, redis, authority, files, { HEALTH_TLS: 'true' });
  const client = await watching(t, server, { ca: authority.pem, transports: ['websocket'] });
  const polls = await watching(t, server, { ca: authority.pem, transports: ['polling'] });
  const shown = async () => (await handshake(server.addresses.websocket)).name;
  const shows = async (name) => {
    await until(async () => await shown() === name, () => `the certificate ${name}\n${server.program.stderr}`);
    assert.equal((await handshake(server.addresses.health)).name, name);
  };
  await shows('first');
  files.write(authority.sign('second'));
  await shows('second');
  const [good, other] = [authority.sign('third'), authority.sign('another')];
  const refusals = () => server.program.stderr.split('the changed certificate is not used').length - 1;
  for (const [what, bad] of Object.entries({
    'a key of another': { cert: good.cert, key: other.key }, 'no PEM': { cert: 'x', key: good.key }, 'half of it': { cert: good.cert.subarray(0, 200), key: good.key }, 'nothing': { cert: '', key: '' },
  })) {
    const before = refusals();
    files.write(bad);
    await until(async () => {
      assert.equal(await shown(), 'second', what);
      return refusals() > before;
    }, `a complaint about ${what}`);
  }
  rmSync(files.cert);
  await until(async () => {
    assert.equal(await shown(), 'second');
    return /no such file/.test(server.program.stderr);
  }, 'a complaint about no file');
  assert.ok(!server.program.stderr.includes('PRIVATE KEY'), 'a key in the log');
  files.write(good);
  server.program.signal('SIGHUP'); // which looks at once
  await shows('third');
  await publish(redis, ...numbered(client.photoId, 0, 5), ...numbered(polls.photoId, 0, 5));
  for (const one of [client, polls]) {
    await sees(one, 5);
    assert.deepEqual(one.states.map(({ state }) => state), ['connect']);
  }
});

describe('the health port', () => {
  const bearer = { authorization: `Bearer ${token({ userId: 'operator', roles: ['admin'] })}` };

  test('probes, metrics and API by https, and not in the clear', async () => {
    for (const path of ['/health', '/health/live', '/health/ready', '/health/startup', '/metrics']) assert.equal((await secure.health(path)).status, 200, path);
    const stats = await secure.health('/api/v1/stats', { headers: bearer });
    assert.equal(stats.status, 200);
    assert.ok(JSON.parse(stats.body).replicas >= 2); // one that has just gone may be counted for a moment
    const posted = await secure.health('/api/v1/events', {
      method: 'POST', headers: { ...bearer, 'content-type': 'application/json' }, body: JSON.stringify(numbered('p', 0, 1)[0]),
    });
    assert.equal(posted.status, 202);
    await assert.rejects(ask(`https://${secure.addresses.health}/health`, { ca: stranger.pem }));
    const clear = await new Promise((done) => {
      http(`http://${secure.addresses.health}/api/v1/stats`, { headers: bearer, agent: false }, (from) => {
        from.resume();
        done(from.statusCode);
      }).on('error', () => done(0)).end();
    });
    assert.ok(clear === 400 || clear === 0, `${clear}`);
  });

  test('healthcheck, as a container runs it', async () => {
    const { PATH, HOME } = process.env;
    const check = async (env) => {
      const program = new Program(secure.program.child.spawnfile, ['healthcheck'], { env: { PATH, HOME, HEALTH_HOST: '127.0.0.1', ...env } });
      return (await program.exit()).code;
    };
    const port = (server) => server.addresses.health.split(':').at(-1);
    assert.equal(await check({ HEALTH_PORT: port(secure), HEALTH_TLS: 'true' }), 0);
    assert.equal(await check({ HEALTH_PORT: port(plain) }), 0);
    assert.notEqual(await check({ HEALTH_PORT: port(secure) }), 0, 'in the clear');
    assert.notEqual(await check({ HEALTH_PORT: String(await freePort()) }), 0, 'nobody there');
    assert.equal((await eventbus(redis, 'healthcheck', `--health-port=${port(plain)}`)).code, 0);
  });
});

describe('polls that come to another replica', () => {
  const served = async (server, outcome = 'served') => parseMetrics((await server.health('/metrics')).body).value('eventbus_forwarded_requests_total', { outcome });

  /** Opens a session at one server and goes on at another one: by polls, then by an upgrade. */
  async function goesOn(from, to) {
    const options = { ca: authority.pem };
    const at = (server, query = '') => `${server.url}/socket.io/?EIO=4&transport=polling${query}`;
    const { sid } = JSON.parse((await ask(at(from), options)).body.slice(1));
    const post = (body) => ask(at(to, `&sid=${sid}`), { ...options, method: 'POST', body, headers: { 'content-type': 'text/plain' } });
    const connect = await post(`40${JSON.stringify({ token: token({ userId: 'u', permissions: [] }) })}`);
    if (connect.status !== 200) return connect;
    const hello = await ask(at(to, `&sid=${sid}`), options);
    assert.match(hello.body, /^40\{"sid":"/);
    const socket = new WebSocket(`${to.url.replace('https', 'wss')}/socket.io/?EIO=4&transport=websocket&sid=${sid}`, options);
    await within(new Promise((done, reject) => {
      socket.on('open', () => socket.send('2probe'));
      socket.on('message', (data) => (String(data) === '3probe' ? done() : reject(new Error(String(data)))));
      socket.on('error', reject);
    }), 'the probe of an upgrade');
    socket.terminate();
    return connect;
  }

  test('are forwarded in the clear, and by https where it does TLS', async () => {
    const before = [await served(plain), await served(secure)];
    assert.equal((await goesOn(secure, plain)).status, 200);
    assert.equal((await goesOn(plain, secure)).status, 200);
    assert.ok(await served(plain) - before[0] >= 2, 'forwarded by https');
    assert.ok(await served(secure) - before[1] >= 2, 'forwarded in the clear');
  });

  test('to a replica with a certificate of its own from an authority that is trusted; not to a stranger, not without TLS', async (t) => {
    const start = (signer, name, env) => SecureServer.start(t, redis, authority, new CertificateFiles(authority, name).write(signer.sign(name)), { HEALTH_TLS: 'true', ...env });
    const [trusting, doubting] = await Promise.all([
      start(authority, 'own', { SSL_CERT_FILE: authority.file }),
      start(authority, 'doubting', { SSL_CERT_FILE: stranger.file }),
    ]);
    assert.equal((await goesOn(secure, trusting)).status, 200);
    const refused = await goesOn(secure, doubting);
    assert.equal(refused.status, 400); // as if the session were unknown: the client opens a new one
    assert.deepEqual(JSON.parse(refused.body), { code: 1, message: 'Session ID unknown' });
    assert.equal(await served(doubting, 'failed'), 1);
  });

  test('while the certificate changes', async (t) => {
    const files = range(2).map((i) => new CertificateFiles(authority, `rolling-${i}`));
    const old = authority.sign('old');
    for (const one of files) one.write(old);
    const [a, b] = await Promise.all(files.map((one) => SecureServer.start(t, redis, authority, one, { HEALTH_TLS: 'true' })));
    assert.equal((await goesOn(a, b)).status, 200);
    files[1].write(authority.sign('new')); // a has not got it yet
    await until(async () => (await handshake(b.addresses.websocket)).name === 'new', 'the new certificate');
    assert.equal((await goesOn(a, b)).status, 200);
  });
});

describe('what is wrong with the files is said at the start', () => {
  const CASES = {
    'no such file': (files) => ({ TLS_CERT_FILE: '/nowhere/tls.crt', TLS_KEY_FILE: files.key }),
    'a key of another': (files) => files.write({ cert: authority.sign('a').cert, key: authority.sign('b').key }).env,
    'no certificate in it': (files) => files.write({ cert: 'x', key: authority.sign('b').key }).env,
  };
  for (const [what, env] of Object.entries(CASES)) {
    test(what, async () => {
      const files = new CertificateFiles(authority, 'wrong').write(authority.sign('a'));
      const { code, stderr } = await startInVain({ JWT_SECRET: SECRET, REDIS_HOST: '127.0.0.1', REDIS_PORT: String(redis.port), ...env(files) });
      assert.notEqual(code, 0);
      assert.match(stderr, /tls-cert-file \(TLS_CERT_FILE\)/);
    });
  }
});
