// A redis-server of the test's own: free port, temporary directory, gone afterwards.
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Redis from 'ioredis';
import { until } from './await.mjs';
import { Program } from './process.mjs';

const directories = new Set();
process.on('exit', () => directories.forEach((path) => rmSync(path, { recursive: true, force: true })));

export async function freePort() {
  const probe = createServer();
  await new Promise((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

export class RedisServer {
  /** Starts one; with appendOnly its data survives stop and start. Settings are redis.conf's: { appendfsync: 'always' }; several values are a list. */
  static async start({ appendOnly = false, settings = {} } = {}) {
    const server = new RedisServer();
    server.settings = { appendonly: appendOnly ? 'yes' : 'no', ...settings };
    server.directory = mkdtempSync(join(tmpdir(), 'eventbus-redis-'));
    directories.add(server.directory);
    for (let attempt = 1; ; attempt += 1) {
      server.port = await freePort();
      try {
        await server.start();
        return server;
      } catch (error) {
        if (attempt === 5) throw error; // somebody may take the port between the probe and the start
      }
    }
  }

  async start() {
    const options = { port: this.port, bind: '127.0.0.1', dir: this.directory, save: '', ...this.settings };
    await this.startAs(Object.entries(options).flatMap(([name, value]) => [`--${name}`, ...[value].flat().map(String)]));
  }

  /** Starts redis-server with these arguments, on the port and in the directory it has; it is there once it says so. */
  async startAs(args, says = 'Ready to accept connections') {
    this.program = new Program('redis-server', args);
    await until(() => {
      if (this.program.end) throw new Error(`redis-server ended: ${this.program.stdout}${this.program.stderr}`);
      return this.program.stdout.includes(says);
    }, () => `redis-server: ${this.program.stdout}`);
    this.client = new Redis({ host: '127.0.0.1', port: this.port });
    this.client.on('error', () => {}); // the command that fails tells
  }

  /** Stops the process and keeps its data, so that start brings it back on the same port. SIGKILL gives it no time. */
  async stop(signal) {
    this.client.disconnect();
    await this.program.stop(signal);
  }

  async remove() {
    await this.stop();
    directories.delete(this.directory);
    rmSync(this.directory, { recursive: true });
  }
}
