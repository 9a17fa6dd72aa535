// Configuration: where a setting comes from, what each of the design's does, what is wrong with one, and what may change.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import Redis from 'ioredis';
import jwt from 'jsonwebtoken';
import { ConfigFile } from './lib/api.mjs';
import { until } from './lib/await.mjs';
import { cleanup } from './lib/cleanup.mjs';
import { Client } from './lib/client.mjs';
import { add, event, numbered, publish, range } from './lib/events.mjs';
import { parseMetrics } from './lib/metrics.mjs';
import { Program } from './lib/process.mjs';
import { freePort, RedisServer } from './lib/redis.mjs';
import { startInVain, startReplica, startServer } from './lib/server.mjs';
import { SECRET, token, unique } from './lib/tokens.mjs';
import { watching } from './lib/watching.mjs';
import { ALLOWED, pauses, Receiver } from './lib/webhook.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const binary = process.env.EVENTBUS_BIN ? resolve(process.env.EVENTBUS_BIN) : join(root, 'bin/eventbus');

/** Runs the command with these variables and no others: { code, stdout, stderr }. */
async function run(args, env = {}) {
  const { PATH, HOME } = process.env;
  const program = new Program(binary, args, { env: { PATH, HOME, ...env } });
  const { code } = await program.exit();
  return { code, stdout: program.stdout, stderr: program.stderr };
}

/** What is in force, as check-config prints it: the value of a key of one line. */
async function printed(args, env) {
  const { code, stdout, stderr } = await run(['check-config', '--print', ...args], env);
  assert.equal(code, 0, stderr);
  return stdout;
}

const needed = { JWT_SECRET: SECRET, REDIS_HOST: '127.0.0.1' };

test('flags win over the environment, that over the file, that over the defaults', async (t) => {
  const { path } = new ConfigFile(t, { websocket: { pingInterval: 11_000 }, performance: { batchSize: 7 } });
  const has = async (want, args = [], env = {}) => assert.match(await printed(args, { ...needed, ...env }), new RegExp(`pingInterval: ${want}\n`));
  await has('25s');
  await has('11s', ['--config-file', path]);
  await has('11s', [], { CONFIG_FILE: path });
  await has('12s', ['--config-file', path], { PING_INTERVAL: '12s' });
  await has('13s', ['--config-file', path, '--ping-interval=13s'], { PING_INTERVAL: '12s' });
  await has('11s', ['--config-file', path], { PING_INTERVAL: '' }); // empty is not set
  assert.match(await printed(['--config-file', path], needed), /batchSize: 7\n/);
  const other = new ConfigFile(t, { websocket: { pingInterval: '14s' } });
  await has('14s', ['--config-file', other.path], { CONFIG_FILE: path });
});

test('what is printed is a file that says the same', async (t) => {
  const env = { ...needed, PING_INTERVAL: '17s', CORS_ORIGINS: 'https://a.example,https://b.example', RATE_LIMIT: 'false', RATE_LIMIT_EVENTS: '2.5' };
  const text = await printed([], env);
  const { path } = new ConfigFile(t, text);
  assert.equal(await printed(['--config-file', path], { JWT_SECRET: SECRET }), text);
});

test('the example file is good, and so is the service that it makes', async (t) => {
  const path = join(root, 'deploy/event-bus.yaml');
  const { code, stdout, stderr } = await run(['check-config', '--config-file', path], { JWT_SECRET: SECRET });
  assert.deepEqual([code, stdout, stderr], [0, 'the configuration is good\n', '']);
  const redis = await RedisServer.start();
  cleanup(t, () => redis.remove());
  const server = await startServer(redis, { CONFIG_FILE: path });
  cleanup(t, () => server.stop());
  await Client.identified(t, server);
});

describe('the design\'s schema', () => {
  /** A server with this file alone, but for where it listens if that is left out. */
  async function start(t, yaml, env = {}) {
    const config = new ConfigFile(t, yaml);
    const { code, stderr } = await run(['check-config', '--config-file', config.path], env);
    assert.equal(code, 0, stderr);
    const server = await startReplica({ JWT_SECRET: undefined, WEBSOCKET_PORT: undefined, HEALTH_PORT: undefined, LOG_LEVEL: undefined, CONFIG_FILE: config.path, ...env });
    cleanup(t, () => server.stop());
    return server;
  }

  test('with each of its keys: accepted, and each does what it says', async (t) => {
    const password = 'a password of redis';
    const secret = 'the secret of this file, thirty-two bytes and more';
    const redis = await RedisServer.start({ settings: { requirepass: password } });
    cleanup(t, () => redis.remove());
    redis.client.disconnect();
    redis.client = new Redis({ host: '127.0.0.1', port: redis.port, password });
    const spans = [];
    const collector = createServer(async (from, to) => {
      const chunks = [];
      for await (const chunk of from) chunks.push(chunk);
      spans.push({ path: from.url, body: Buffer.concat(chunks).toString('latin1') });
      to.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
    });
    await new Promise((done) => collector.listen(0, '127.0.0.1', done));
    cleanup(t, () => {
      collector.closeAllConnections();
      return new Promise((done) => collector.close(done));
    });
    const hook = await Receiver.start(t);
    hook.answer = () => ({ status: 503 });
    const [websocketPort, healthPort, metricsPort] = [await freePort(), await freePort(), await freePort()];
    const server = await start(t, `
server:
  websocketPort: ${websocketPort}
  healthPort: ${healthPort}
  metricsPort: ${metricsPort}
redis:
  host: 127.0.0.1
  port: ${redis.port}
  db: 3
  password: ${password}
  keyPrefix: "mine:"
websocket:
  corsOrigins: [https://app.example]
  pingTimeout: 7000
  pingInterval: 9000
  transports: [websocket, polling]
security:
  jwt:
    secret: ${secret}
    expiresIn: 2h
  rateLimit:
    enabled: true
    windowMs: 50000
    maxRequests: 3
  channelAccess:
    photo:processing: {publish: [uploader], subscribe: [auditor]}
performance:
  maxEventSize: 20000
  batchSize: 50
  flushInterval: 1000
  connectionLimit: 6
resilience:
  maxRetries: {network: 3, default: 3}
  baseRetryDelay: {network: 300, default: 300}
  maxRetryDelay: {network: 400, default: 400}
  circuitBreaker: {failureThreshold: 3, resetTimeout: 60000, monitoringWindow: 60000}
  deadLetter: {enabled: true, retentionDays: 2, maxSize: 5}
monitoring:
  metrics: {enabled: true, port: ${metricsPort}, endpoint: /numbers}
  tracing: {enabled: true, serviceName: bus-of-the-test, jaegerEndpoint: "http://127.0.0.1:${collector.address().port}"}
  logging: {level: debug, format: json}
subscriptions:
  - {id: hook, channel: "photo:processing", webhook: {url: "${hook.url}", secret: "sixteen bytes and more"}}
`, ALLOWED);
    const sign = (claims) => token(claims, { secret });

    // server
    assert.equal(server.port, String(websocketPort));
    assert.equal(server.addresses.health.split(':').at(-1), String(healthPort));
    const metrics = await (await fetch(`http://127.0.0.1:${metricsPort}/numbers`)).text();
    assert.equal(parseMetrics(metrics).value('eventbus_replicas'), 1);
    assert.equal((await fetch(`http://127.0.0.1:${metricsPort}/health`)).status, 404);
    assert.equal((await server.probe('/metrics')).status, 404);
    assert.equal((await server.probe('/numbers')).status, 200);

    // redis
    const keys = async (db) => {
      await redis.client.select(db);
      return redis.client.keys('*');
    };
    assert.deepEqual(await keys(0), []);
    assert.ok((await keys(3)).some((key) => key.startsWith('mine:')), 'keys with the prefix');
    assert.ok(!(await keys(3)).some((key) => key.startsWith('eventbus:')), 'no keys with the default prefix');

    // websocket
    const open = await fetch(`${server.url}/socket.io/?EIO=4&transport=polling`, { headers: { origin: 'https://app.example' } });
    assert.equal(open.headers.get('access-control-allow-origin'), 'https://app.example');
    const { pingInterval, pingTimeout, upgrades } = JSON.parse((await open.text()).slice(1));
    assert.deepEqual({ pingInterval, pingTimeout, upgrades }, { pingInterval: 9000, pingTimeout: 7000, upgrades: ['websocket'] });
    const stranger = await fetch(`${server.url}/socket.io/?EIO=4&transport=polling`, { headers: { origin: 'https://evil.example' } });
    assert.equal(stranger.headers.get('access-control-allow-origin'), null);

    // security.rateLimit, then performance.connectionLimit
    const user = unique('user');
    const connect = (u) => Client.connect(t, server, { auth: { token: sign({ userId: u, permissions: ['photo:read:*'] }) }, reconnection: false, transports: ['websocket'] });
    const client = await connect(user);
    for (const _ of range(2)) await connect(user);
    const limited = await connect(user).then(() => undefined, (error) => error);
    assert.equal(limited.message, 'Rate limit exceeded');
    assert.ok(limited.data.retryAfter > 0 && limited.data.retryAfter <= 50, `${limited.data.retryAfter} s`);
    let others = 0;
    await assert.rejects(async () => {
      for (; others < 6; others += 1) await connect(unique('user'));
    }, /websocket error/);
    assert.ok(others <= 3, `${others} more got in beside three`);

    // security.channelAccess and performance.maxEventSize, by HTTP
    const post = (roles, body) => fetch(`http://${server.addresses.health}/api/v1/events?durable=false`, {
      method: 'POST', headers: { authorization: `Bearer ${sign({ userId: 'publisher', roles })}`, 'content-type': 'application/json', connection: 'close' }, body: JSON.stringify(body),
    });
    const photoId = unique('photo');
    await client.asks('subscribe:photo', { photoId });
    const [e, large] = numbered(photoId, 0, 2);
    large.data.result = 'x'.repeat(20_001);
    assert.equal((await post(['user'], e)).status, 403);
    assert.equal((await post(['uploader'], large)).status, 413);
    const begun = performance.now();
    assert.equal((await post(['uploader'], e)).status, 202);
    await client.received('processing.event', 1);
    assert.ok(performance.now() - begun > 950, `one event came after ${performance.now() - begun} ms, before the flush`);
    // resilience: three attempts, 300 and 400 ms apart, after which the circuit is open, and there is a dead letter
    const admin = sign({ userId: 'operator', roles: ['admin'] });
    const get = async (path) => (await fetch(`http://${server.addresses.health}/api/v1${path}`, { headers: { authorization: `Bearer ${admin}`, connection: 'close' } })).json();
    await until(async () => (await get('/subscriptions/hook')).state === 'paused', 'the circuit to open');
    assert.equal(hook.of(e).length, 3);
    const [one, two] = pauses(hook.of(e));
    assert.ok(one >= 295 && one < 5000 && two >= 395 && two < 5000, `retried after ${one} and ${two} ms`);
    await until(async () => (await get('/dead-letters')).deadLetters.some((letter) => letter.eventId === e.id && letter.attempts === 3), 'a dead letter');

    const full = performance.now(); // a batch is full before it has waited
    const many = numbered(photoId, 0, 50);
    await publish(redis, ...many);
    await client.received('processing.event', 51);
    assert.ok(performance.now() - full < 900, `a full batch waited ${performance.now() - full} ms`);

    await redis.client.select(3);
    const bad = range(8).map(() => JSON.stringify({ id: unique('bad'), type: 'photo.uploaded', data: 5 }));
    for (const text of bad) await redis.client.xadd('mine:in:photo:upload', '*', 'event', text);
    await until(async () => { // the bound is about: Redis trims by nodes of its list
      const { deadLetters } = await get('/dead-letters');
      return deadLetters.length >= 5 && deadLetters.at(-1).channel === 'photo:upload';
    }, 'dead letters');
    assert.equal(hook.requests.length, 3);

    // monitoring
    await until(() => spans.some(({ path, body }) => path === '/v1/traces' && body.includes('bus-of-the-test')), 'a span', 15_000);
    assert.ok(server.program.stderr.split('\n').filter(Boolean).every((line) => JSON.parse(line)), 'lines of JSON');
    assert.equal((await get('/log-level')).level, 'debug');
    for (const text of [password, secret, 'sixteen bytes and more']) assert.ok(!server.program.stderr.includes(text), `${text} is in the log`);
  });

  test('with what can be turned off turned off', async (t) => {
    const redis = await RedisServer.start();
    cleanup(t, () => redis.remove());
    const server = await start(t, `
server: {websocketPort: 0, healthPort: 0}
redis: {host: 127.0.0.1, port: ${redis.port}}
websocket: {transports: [polling]}
security: {jwt: {secret: "${SECRET}"}, rateLimit: {enabled: false, maxRequests: 1}}
resilience: {deadLetter: {enabled: false}}
monitoring:
  metrics: {enabled: false}
  logging: {level: info, format: console}
`, { HEALTH_PORT: '0', WEBSOCKET_PORT: '0', LOG_FORMAT: 'json' }); // the harness reads JSON
    const user = unique('user');
    for (const _ of range(3)) await Client.connect(t, server, { user, transports: ['polling'] });
    await assert.rejects(Client.connect(t, server, { transports: ['websocket'], reconnection: false }));
    assert.equal((await server.probe('/metrics')).status, 404);
    const letters = await fetch(`http://${server.addresses.health}/api/v1/dead-letters`, { headers: { authorization: `Bearer ${token({ userId: 'o', roles: ['admin'] })}` } });
    assert.equal(letters.status, 501);
  });

  test('its two names of the metrics port are one setting', async (t) => {
    const { path } = new ConfigFile(t, { monitoring: { metrics: { port: 9105 } } });
    assert.match(await printed(['--config-file', path], needed), /metricsPort: 9105\n/);
    const both = new ConfigFile(t, { server: { metricsPort: 9105 }, monitoring: { metrics: { port: 9106 } } });
    const { code, stderr } = await run(['check-config', '--config-file', both.path], needed);
    assert.equal(code, 2);
    assert.match(stderr, /server\.metricsPort: differs from monitoring\.metrics\.port|monitoring\.metrics\.port: differs from server\.metricsPort/);
  });

  test('expiresIn, with --dev', async (t) => {
    const { path } = new ConfigFile(t, { security: { jwt: { expiresIn: 7_200_000 } } });
    const { PATH, HOME } = process.env;
    const program = new Program(binary, ['serve', '--dev', '--config-file', path, '--websocket-port=0', '--health-port=0', '--embedded-redis-port=0'], { env: { PATH, HOME } });
    cleanup(t, () => program.stop());
    const [, text] = await until(() => program.stdout.match(/#token=([\w-]+\.[\w-]+\.[\w-]+)/), () => `a token, got ${program.stdout}`);
    const { iat, exp } = jwt.decode(text);
    assert.ok(Math.abs(exp - iat - 7200) <= 1, `${exp - iat} s`); // in whole seconds, never less
  });
});

describe('what is wrong', () => {
  test('is reported all at once, with key and remedy, and nothing is started', async (t) => {
    const { path } = new ConfigFile(t, `
server: {websocketPort: high, helthPort: 3004, webSocketHost: x, drain: -5}
redis: {port: [1, 2], host: {name: x}}
websocket: {pingIntervall: 5, transports: [smoke], corsOrigins: {a: 1}}
performance: {batchSize: 0.5}
security: {rateLimit: perhaps, photoAccess: everybody}
monitoring: {logging: {level: loud}}
colour: red
`);
    for (const command of ['check-config', 'serve']) {
      const { code, stdout, stderr } = await run([command, '--config-file', path], { JWT_SECRET: SECRET, METRICS_PORT: 'x', HEALTH_PORT: '123456x' });
      assert.equal(code, 2, stderr);
      assert.equal(stdout, '');
      for (const key of ['server.websocketPort', 'server.helthPort', 'redis.port', 'redis.host', 'websocket.pingIntervall', 'websocket.corsOrigins',
        'performance.batchSize', 'security.rateLimit', 'monitoring.logging.level', 'colour', 'METRICS_PORT', 'HEALTH_PORT']) {
        assert.ok(stderr.includes(key), `${key} in\n${stderr}`);
      }
      for (const remedy of ['want a whole number', 'did you mean', 'want one value, not a list', 'want a value, not further keys', 'debug, info, warn']) {
        assert.ok(stderr.includes(remedy), `${remedy} in\n${stderr}`);
      }
    }
  });

  const OUT_OF_RANGE = {
    'websocket-port': ['70000', '-1'], 'health-port': ['65536'], 'metrics-port': ['-1', '70000', '3004', '3003'], 'drain-timeout': ['-1s'],
    'ping-interval': ['-1s'], 'ping-timeout': ['-1s'], 'max-payload': ['-1'], 'max-queue': ['-1'], 'connect-timeout': ['-1s'],
    'max-event-size': ['-1'], 'batch-size': ['-1'], 'flush-interval': ['-1s'], 'connection-limit': ['-1'], 'max-subscriptions': ['-1'],
    transports: ['smoke'], 'cors-origins': ['no origin'], 'photo-access': ['all'], adapter: ['mongo'], 'log-level': ['loud'], 'log-format': ['xml'],
    'rate-limit-max': ['-1'], 'rate-limit-window': ['-1s'], 'rate-limit-events': ['-1', 'NaN'], 'rate-limit-publish': ['-1'],
    'dead-letter-retention-days': ['-1'], 'dead-letter-max-size': ['-1'], 'breaker-failure-threshold': ['-1'], 'breaker-reset-timeout': ['-1s'],
    'breaker-when-open': ['explode'], 'feed-retention': ['-1s'], 'feed-max-length': ['-1'], 'history-size': ['-1'], 'history-ttl': ['-1s'],
    'dedupe-window': ['-1s'], 'redis-port': ['0x', '-1', '70000'], 'redis-db': ['-1'], 'metrics-endpoint': ['metrics'], 'trusted-proxies': ['everybody'],
    'webhook-allow-private': ['home'], 'audit-sink': ['paper'], 'advertise-addr': ['nowhere'], 'jwt-algorithms': ['none', 'HS1'],
    'jwt-on-expiry': ['shrug'], 'tls-cert-file': ['alone.pem'], 'health-tls': ['true'], 'tracing-sample-ratio': ['2', 'NaN'],
    'jwt-expires-in': ['-1s', '0s'],
  };
  test('out of range: one by one', async (t) => {
    const page = readFileSync(join(root, 'docs/configuration.md'), 'utf8'); // made from code
    const keys = new Map([...page.matchAll(/^\| `([\w.]+)`(?: \*)? \| `(\w+)`/gm)].map(([, key, name]) => [name.toLowerCase().replaceAll('_', '-'), key]));
    assert.ok(keys.size > 80, `${keys.size} keys`);
    for (const [flag, values] of Object.entries(OUT_OF_RANGE)) {
      for (const value of values) {
        await t.test(`--${flag} ${value}`, async () => {
          const { code, stdout, stderr } = await run(['check-config', `--${flag}=${value}`], needed);
          assert.equal(code, 2, `${stdout}${stderr}`);
          assert.ok([flag, keys.get(flag)].some((name) => stderr.includes(name)), `${flag} or ${keys.get(flag)} in ${stderr}`);
        });
      }
    }
  });

  const FILES = {
    'no YAML': ['a: [', /is not YAML/],
    'a list': ['- a\n- b', /./],
    'a key twice': ['server: {drain: 5s}\nserver: {drain: 6s}', /already defined|twice|duplicate/i],
    'a rule that is none': ['routing: {rules: {"photo:upload": [{type: teleport}]}}', /teleport|type/],
    'a filter that is none': ['filters: [{id: x, type: exclude, action: {type: explode}}]', /filters\[0\].*explode|explode/],
    'a webhook to a private address': ['subscriptions: [{id: x, channel: "photo:upload", webhook: {url: "https://10.0.0.1/"}}]', /subscriptions\[0\]|x/],
    'a channel that is none': ['subscriptions: [{id: x, channel: nowhere, webhook: {url: "https://hooks.example/"}}]', /nowhere/],
    'retries of a category that is none': ['resilience: {maxRetries: {bad_luck: 3}}', /bad_luck/],
    'a negative delay': ['resilience: {baseRetryDelay: {network: -3}}', /baseRetryDelay/],
    'access by a word': ['security: {channelAccess: {"photo:upload": all}}', /channelAccess/],
    'access to an unknown right': ['security: {channelAccess: {"photo:upload": {delete: [x]}}}', /delete/],
    'no value': ['server: {drain: }', /server\.drain: has no value/],
  };
  for (const [what, [text, says]] of Object.entries(FILES)) {
    test(`in the file: ${what}`, async (t) => {
      const { path } = new ConfigFile(t, text);
      const { code, stderr } = await run(['check-config', '--config-file', path], needed);
      assert.equal(code, 2, stderr);
      assert.match(stderr, says);
    });
  }

  test('no file, one too large, and a directory', async (t) => {
    const { path, directory } = new ConfigFile(t, `# ${'x'.repeat(5 << 20)}`);
    for (const name of [path, directory, join(directory, 'none.yaml')]) {
      const { code, stderr } = await run(['check-config', '--config-file', name], needed);
      assert.equal(code, 2, stderr);
      assert.match(stderr, /config-file \(CONFIG_FILE\)/);
    }
  });

  test('no connection to Redis is made with it', async (t) => {
    const redis = await RedisServer.start();
    cleanup(t, () => redis.remove());
    const connections = async () => Number((await redis.client.info('stats')).match(/total_connections_received:(\d+)/)[1]);
    const before = await connections();
    const { code } = await startInVain({ JWT_SECRET: SECRET, REDIS_HOST: '127.0.0.1', REDIS_PORT: String(redis.port), BATCH_SIZE: '-1' });
    assert.equal(code, 2);
    assert.equal(await connections(), before);
  });
});

describe('secrets are never shown', () => {
  const secret = 'sup3rs3cret-and-32-bytes-of-it-or-more';
  const shown = ({ stdout, stderr }) => `${stdout}${stderr}`;

  test('when the configuration is printed', async (t) => {
    const { path } = new ConfigFile(t, {
      redis: { password: secret, url: `redis://user:${secret}@127.0.0.1:6379/0` },
      security: { jwt: { secret } },
      subscriptions: [{ id: 'x', channel: 'photo:upload', webhook: { url: 'https://hooks.example/', secret, headers: { authorization: secret } } }],
    });
    const answer = await run(['check-config', '--print', '--config-file', path]);
    assert.equal(answer.code, 0, answer.stderr);
    assert.ok(!shown(answer).includes(secret), shown(answer));
    assert.match(answer.stdout, /password: '\*{8}'|password: "\*{8}"/);
  });

  const WRONG = {
    'a URL that is none': { redis: { url: `redis://user:${secret}@[bad/0` } },
    'a URL of another kind': { redis: { url: `mysql://user:${secret}@host/0` } },
    'a password with keys': { redis: { password: { [secret]: secret } } },
    'a list': { security: { jwt: { secret: [secret, secret] } } },
    'a key set': { security: { jwt: { secret: undefined, jwksUrl: `http://user:${secret}@host/%zz` } } },
    'a webhook': { subscriptions: [{ id: 'x', channel: 'nowhere', webhook: { url: `ftp://user:${secret}@host/`, secret: 5, headers: { authorization: secret, 'bad header': secret } } }] },
    'a webhook with a secret too long': { subscriptions: [{ id: 'x', channel: 'photo:upload', webhook: { url: 'https://hooks.example/', secret: `whsec_${secret}!` } }] },
    'a trace collector': { monitoring: { tracing: { enabled: true, endpoint: `ftp://user:${secret}@host:4318` } } },
  };
  for (const [what, settings] of Object.entries(WRONG)) {
    test(`when it is wrong: ${what}`, async (t) => {
      const { path } = new ConfigFile(t, settings);
      const answer = await run(['check-config', '--config-file', path], { JWT_SECRET: settings.security?.jwt?.jwksUrl ? '' : SECRET, REDIS_HOST: settings.redis?.url ? '' : '127.0.0.1' });
      assert.notEqual(answer.code, 0, answer.stdout);
      assert.ok(!shown(answer).includes('sup3rs3cret'), shown(answer));
    });
  }

  test('in the log, while Redis refuses the password', async (t) => {
    const redis = await RedisServer.start({ settings: { requirepass: 'another' } });
    cleanup(t, () => redis.remove());
    const { PATH, HOME } = process.env;
    const program = new Program(binary, ['serve'], {
      env: { PATH, HOME, REDIS_URL: `redis://:${secret}@127.0.0.1:${redis.port}/0`, JWT_SECRET: secret, LOG_LEVEL: 'debug', WEBSOCKET_PORT: '0', HEALTH_PORT: '0' },
    });
    await until(() => program.end || /WRONGPASS|NOAUTH|invalid username/i.test(program.stderr), () => `a complaint, got ${program.stderr}`, 20_000);
    await program.stop();
    assert.ok(!shown(program).includes('sup3rs3cret'), shown(program));
  });
});

describe('SIGHUP', () => {
  async function start(t, settings) {
    const redis = await RedisServer.start();
    cleanup(t, () => redis.remove());
    const config = new ConfigFile(t, settings);
    const server = await startServer(redis, { CONFIG_FILE: config.path, LOG_LEVEL: undefined });
    cleanup(t, () => server.stop());
    const logged = (text) => server.program.stderr.split(text).length - 1;
    const reload = async (next, says = 'the configuration was read again') => {
      const before = logged(says);
      config.write(next);
      server.signal('SIGHUP');
      await until(() => logged(says) > before, () => `${says}, got ${server.program.stderr}`);
    };
    const ask = async (method, path, body) => {
      const answer = await fetch(`http://${server.addresses.health}/api/v1${path}`, {
        method, headers: { authorization: `Bearer ${token({ userId: 'operator', roles: ['admin'] })}`, 'content-type': 'application/json', connection: 'close' },
        body: body && JSON.stringify(body),
      });
      return { status: answer.status, body: answer.headers.get('content-type')?.includes('json') ? await answer.json() : undefined };
    };
    const cors = async (origin) => (await fetch(`${server.url}/socket.io/?EIO=4&transport=polling`, { headers: { origin, connection: 'close' } })).headers.get('access-control-allow-origin');
    return { redis, server, reload, ask, cors };
  }

  const settings = (stage, more = {}) => ({
    websocket: { corsOrigins: [`https://${stage}.example`] },
    monitoring: { logging: { level: stage === 'old' ? 'info' : 'debug' } },
    security: { photoAccess: 'any', rateLimit: { maxRequests: stage === 'old' ? 2 : 100, publish: { perUser: { max: stage === 'old' ? 1000 : 1 } } } },
    filters: [{ id: stage, type: 'exclude', conditions: [{ field: 'data.stage', operator: 'eq', value: stage }], action: { type: 'drop' } }],
    ...more,
  });

  test('takes over level, origins, limits and filters, and no connection is dropped', async (t) => {
    const { redis, server, reload, ask, cors } = await start(t, settings('old'));
    const client = await watching(t, server);
    const user = unique('limited');
    for (const _ of range(2)) await Client.connect(t, server, { user });
    await assert.rejects(Client.connect(t, server, { user }), /Rate limit exceeded/);
    assert.equal(await cors('https://old.example'), 'https://old.example');

    await reload(settings('new'));
    assert.equal((await ask('GET', '/log-level')).body.level, 'debug');
    assert.deepEqual([await cors('https://old.example'), await cors('https://new.example')], [null, 'https://new.example']);
    await until(() => Client.connect(t, server, { user }).catch(() => undefined), 'the new limit'); // 100 a minute: one in 0.6 s, for who had used up all
    assert.deepEqual((await ask('GET', '/filters')).body.filters.map(({ id }) => id), ['new']);
    const events = numbered(client.photoId, 0, 3);
    [events[0].data.stage, events[1].data.stage] = ['old', 'new'];
    await add(redis, ...events);
    await client.received('processing.event', 2);
    assert.deepEqual(client.bodies('processing.event').map(({ data }) => data.stage), ['old', 'resize']);
    const post = async () => (await ask('POST', '/events', numbered('p', 0, 1)[0])).status;
    assert.deepEqual([await post(), await post()], [202, 429]);
    assert.deepEqual(client.states.map(({ state }) => state), ['connect']);
  });

  test('a file with anything wrong in it changes nothing, and says so', async (t) => {
    const { server, reload, ask, cors } = await start(t, settings('old'));
    const client = await watching(t, server);
    for (const broken of ['a: [', { ...settings('new'), colour: 'red' }, { ...settings('new'), filters: [{ id: 'x', type: 'exclude', action: { type: 'explode' } }] },
      { ...settings('new'), performance: { batchSize: -1 } }]) {
      await reload(broken, 'nothing has changed');
      assert.equal((await ask('GET', '/log-level')).body.level, 'info');
      assert.equal(await cors('https://old.example'), 'https://old.example');
      assert.deepEqual((await ask('GET', '/filters')).body.filters.map(({ id }) => id), ['old']);
    }
    assert.match(server.program.stderr, /colour: is not known/);
    await client.asks('heartbeat');
    await reload(settings('new')); // and a good one is taken again
    assert.equal((await ask('GET', '/log-level')).body.level, 'debug');
    assert.deepEqual(client.states.map(({ state }) => state), ['connect']);
  });

  test('settings that need a restart are named', async (t) => {
    const { server, reload } = await start(t, settings('old'));
    await reload(settings('old', { performance: { batchSize: 3 }, server: { drain: '1s' } }));
    const line = server.program.stderr.split('\n').find((text) => text.includes('need a restart'));
    assert.ok(line, server.program.stderr);
    const named = JSON.stringify(JSON.parse(line).settings);
    assert.match(named, /batch-?size/i);
    assert.doesNotMatch(named, /cors/i);
  });

  test('security.photoAccess, tables of subscriptions and rules follow, too', async (t) => {
    const hook = await Receiver.start(t);
    const { redis, server, reload, ask } = await start(t, { delivery: { webhooks: { allowHTTP: true, allowPrivate: ['127.0.0.0/8'] } } });
    const client = await watching(t, server);
    await reload({
      delivery: { webhooks: { allowHTTP: true, allowPrivate: ['127.0.0.0/8'] } },
      subscriptions: [{ id: 'later', channel: 'photo:processing', webhook: { url: hook.url } }],
      routing: {
        rules: {
          'photo:upload': [], 'photo:completion': [],
          'photo:processing': [{ type: 'room', selector: 'data.photoId', targetPrefix: 'photo:', eventName: 'renamed' }],
        },
      },
    });
    await until(async () => (await ask('GET', '/subscriptions/later')).status === 200, 'the subscription');
    const [e] = numbered(client.photoId, 0, 1);
    await until(async () => {
      await add(redis, { ...e, id: event('x', {}).id });
      return hook.requests.length > 0 && client.bodies('renamed').length > 0;
    }, 'the event by its new name, and at the webhook');
  });
});
