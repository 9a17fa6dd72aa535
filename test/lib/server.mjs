// The server under test: the binary in EVENTBUS_BIN, or with TARGET=reference or reference-replica one of the references.
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { until } from './await.mjs';
import { cleanup } from './cleanup.mjs';
import { parseMetrics } from './metrics.mjs';
import { Program } from './process.mjs';
import { RedisServer } from './redis.mjs';
import { SECRET } from './tokens.mjs';

const file = (path) => fileURLToPath(new URL(path, import.meta.url));
const binary = process.env.EVENTBUS_BIN ? resolve(process.env.EVENTBUS_BIN) : file('../../bin/eventbus');
const REFERENCES = { reference: '../reference/server.mjs', 'reference-replica': '../faults/reference.mjs' };
const reference = REFERENCES[process.env.TARGET];
const [command, ...prefix] = reference ? [process.execPath, file(reference)] : [binary];

/** Where the reference finds what is no dependency of the tests. */
const REFERENCE_ENV = reference && process.env.STREAMS_ADAPTER ? { STREAMS_ADAPTER: process.env.STREAMS_ADAPTER } : {};

const DEFAULTS = {
  WEBSOCKET_HOST: '127.0.0.1',
  WEBSOCKET_PORT: '0',
  HEALTH_HOST: '127.0.0.1',
  HEALTH_PORT: '0',
  LOG_LEVEL: 'info',
  DRAIN_TIMEOUT: '500ms',
};

/** Starts `eventbus serve` on a RedisServer and resolves once it is ready. */
export function startServer(redis, env = {}) {
  return launch(['serve'], { JWT_SECRET: SECRET, REDIS_HOST: '127.0.0.1', REDIS_PORT: String(redis.port), ...env });
}

/** Starts `eventbus serve` on the Redis that env names, whatever its kind, and resolves once it is ready. */
export function startReplica(env) {
  return launch(['serve'], { JWT_SECRET: SECRET, ...REFERENCE_ENV, ...env }, 30_000); // beside others, under load
}

/** Starts a server with a Redis of its own, for a test that harms or configures them: { redis, server }. */
export async function startAlone(t, env, options) {
  const redis = await RedisServer.start(options);
  cleanup(t, () => redis.remove());
  const server = await startServer(redis, env);
  cleanup(t, () => server.stop());
  return { redis, server };
}

/** Starts `eventbus serve --dev`: no Redis, no secret given. */
export function startEmbedded() {
  return launch(['serve', '--dev'], {});
}

/** Starts `eventbus serve` without what it needs, and resolves with how it ended: { code, signal, stderr }. */
export async function startInVain(env) {
  const program = run(['serve'], env);
  return { ...await program.exit(), stderr: program.stderr };
}

function run(args, env) {
  const { PATH, HOME } = process.env; // nothing else leaks into a test
  return new Program(command, [...prefix, ...args], { env: { PATH, HOME, ...DEFAULTS, ...env } });
}

async function launch(args, env, ms) {
  const program = run(args, env);
  const server = new EventBus(program);
  try {
    server.addresses = await until(() => server.listening(), () => `a listening line\n${program.stderr}`, ms);
    await until(async () => (await server.probe('/health/ready')).status === 200, () => `readiness\n${program.stderr}`, ms);
  } catch (error) {
    program.signal('SIGKILL');
    throw error;
  }
  return server;
}

class EventBus {
  constructor(program) {
    this.program = program;
  }

  listening() {
    const { end, stderr } = this.program;
    if (end) throw new Error(`${this.program.name} ended: ${JSON.stringify(end)}\n${stderr}`);
    return stderr.split('\n').map(parseLine).find((line) => line?.msg === 'listening');
  }

  get url() {
    return `http://${this.addresses.websocket}`;
  }

  /** The websocket port, to start the next server on the same one. */
  get port() {
    return this.addresses.websocket.split(':').at(-1);
  }

  /** GETs a path of the health port: { status, headers, body }. */
  async probe(path) {
    const response = await fetch(`http://${this.addresses.health}${path}`, { headers: { connection: 'close' } });
    return { status: response.status, headers: response.headers, body: await response.text() };
  }

  async metrics() {
    return parseMetrics((await this.probe('/metrics')).body);
  }

  /** Waits until this many clients are connected, as the server counts them. */
  async clients(want) {
    let got;
    await until(async () => {
      got = (await this.metrics()).value('eventbus_websocket_active_connections');
      return got === want;
    }, () => `${want} active connections, got ${got}`);
  }

  signal(name) {
    this.program.signal(name);
  }

  exit() {
    return this.program.exit();
  }

  stop(signal) {
    return this.program.stop(signal);
  }
}

function parseLine(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
