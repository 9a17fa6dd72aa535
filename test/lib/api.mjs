// The HTTP API and the commands, as an operator uses them, and configuration files.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { until } from './await.mjs';
import { cleanup } from './cleanup.mjs';
import { range } from './events.mjs';
import { Program } from './process.mjs';
import { RedisServer } from './redis.mjs';
import { startServer } from './server.mjs';
import { token } from './tokens.mjs';

const binary = process.env.EVENTBUS_BIN ? resolve(process.env.EVENTBUS_BIN) : fileURLToPath(new URL('../../bin/eventbus', import.meta.url));

/** The API of one replica, for whom the claims say. */
export class Api {
  constructor(server, claims = { userId: 'operator', roles: ['admin'] }) {
    this.server = server;
    this.token = token(claims);
  }

  /** Sends a request below /api/v1: { status, headers, body }, the body parsed. */
  async ask(method, path, body) {
    const response = await fetch(`http://${this.server.addresses.health}/api/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${this.token}`, connection: 'close', ...(body !== undefined && { 'content-type': 'application/json' }) },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, body: text ? JSON.parse(text) : undefined };
  }

  /** The same, for what must succeed: the body. */
  async does(method, path, body) {
    const answer = await this.ask(method, path, body);
    assert.ok(answer.status < 300, `${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer.body;
  }

  get = (path) => this.does('GET', path);

  put = (path, body) => this.does('PUT', path, body);

  post = (path, body) => this.does('POST', path, body);

  delete = (path) => this.does('DELETE', path);

  /** All dead letters that the query chooses, with their events, oldest first. */
  async letters(query = '') {
    const { deadLetters } = await this.get(`/dead-letters${query}`);
    return Promise.all(deadLetters.map(({ id }) => this.get(`/dead-letters/${id}`)));
  }

  /** Resolves with the dead letters once there are at least count. */
  async buried(count, query, ms) {
    let letters;
    await until(async () => {
      letters = await this.letters(query);
      return letters.length >= count;
    }, () => `${count} dead letters, got ${JSON.stringify(letters)}`, ms);
    return letters;
  }

  /** The specs of the filters in force, by id. */
  async filters() {
    const { filters } = await this.get('/filters');
    return Object.fromEntries(filters.map(({ id, spec }) => [id, spec]));
  }
}

/** A configuration file, gone with the test. YAML has room for JSON. */
export class ConfigFile {
  constructor(t, settings) {
    this.directory = mkdtempSync(join(tmpdir(), 'eventbus-config-'));
    this.path = join(this.directory, 'event-bus.yaml');
    this.write(settings);
    if (t) cleanup(t, () => this.remove());
  }

  /** Writes settings, or a text as it is. */
  write(settings) {
    writeFileSync(this.path, typeof settings === 'string' ? settings : JSON.stringify(settings, null, 2));
  }

  remove() {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Redis and replicas of a test's own, with a configuration file: { redis, servers, config }. */
export async function replicas(t, count, settings = {}, env = {}) {
  const redis = await RedisServer.start();
  cleanup(t, () => redis.remove());
  const config = new ConfigFile(t, settings);
  const servers = await Promise.all(range(count).map(() => startServer(redis, { CONFIG_FILE: config.path, ...env })));
  servers.forEach((server) => cleanup(t, () => server.stop()));
  return { redis, servers, config };
}

/** The index of the server that leads each channel, once all have a leader. */
export async function leaders(servers, channels = ['photo:upload', 'photo:processing', 'photo:completion']) {
  let led;
  await until(async () => {
    const all = await Promise.all(servers.map((server) => server.metrics()));
    led = Object.fromEntries(channels.map((channel) => [
      channel, all.findIndex((metrics) => metrics.value('eventbus_leases_held', { channel }) === 1),
    ]));
    return Object.values(led).every((index) => index >= 0);
  }, () => `a leader for each channel, got ${JSON.stringify(led)}`, 20_000);
  return led;
}

/** Runs the command eventbus against a Redis: { code, stdout, stderr }. */
export async function eventbus(redis, ...args) {
  const { PATH, HOME } = process.env;
  const program = new Program(binary, args, { env: { PATH, HOME, REDIS_HOST: '127.0.0.1', REDIS_PORT: String(redis.port) } });
  const { code } = await program.exit();
  return { code, stdout: program.stdout, stderr: program.stderr };
}
