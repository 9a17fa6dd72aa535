// A certificate authority of a test's own, by openssl, and a server that speaks TLS with what it has signed.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { request as https } from 'node:https';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { connect } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { until } from './await.mjs';
import { cleanup } from './cleanup.mjs';
import { Program } from './process.mjs';
import { SECRET } from './tokens.mjs';

const binary = process.env.EVENTBUS_BIN ? resolve(process.env.EVENTBUS_BIN) : fileURLToPath(new URL('../../bin/eventbus', import.meta.url));
const CURVE = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

export class Authority {
  #count = 0;

  /** Makes one, gone with the test or with whatever has its after. */
  constructor(t) {
    this.directory = mkdtempSync(join(tmpdir(), 'eventbus-ca-'));
    cleanup(t, () => rmSync(this.directory, { recursive: true, force: true }));
    this.file = join(this.directory, 'ca.pem');
    this.#openssl('req', '-x509', ...CURVE, '-days', '2', '-subj', '/CN=authority of a test', '-keyout', join(this.directory, 'ca.key'), '-out', this.file);
    this.pem = readFileSync(this.file);
  }

  /** Signs a certificate for localhost and 127.0.0.1: { cert, key } as PEM, named so. */
  sign(name, hosts = 'DNS:localhost,IP:127.0.0.1') {
    this.#count += 1;
    const at = (ending) => join(this.directory, `${this.#count}.${ending}`);
    writeFileSync(at('ext'), `subjectAltName=${hosts}\nextendedKeyUsage=serverAuth\n`);
    this.#openssl('req', '-new', ...CURVE, '-subj', `/CN=${name}`, '-keyout', at('key'), '-out', at('csr'));
    this.#openssl('x509', '-req', '-in', at('csr'), '-CA', this.file, '-CAkey', join(this.directory, 'ca.key'), '-CAcreateserial', '-days', '1', '-extfile', at('ext'), '-out', at('pem'));
    return { cert: readFileSync(at('pem')), key: readFileSync(at('key')) };
  }

  #openssl(...args) {
    execFileSync('openssl', args, { stdio: 'pipe' });
  }
}

/** The files of a server's certificate. */
export class CertificateFiles {
  constructor(authority, name) {
    this.cert = join(authority.directory, `${name}.crt`);
    this.key = join(authority.directory, `${name}.key`);
  }

  /** Puts others in their place, each at once. */
  write({ cert, key }) {
    for (const [path, content] of [[this.cert, cert], [this.key, key]]) {
      writeFileSync(`${path}.new`, content);
      renameSync(`${path}.new`, path);
    }
    return this;
  }

  get env() {
    return { TLS_CERT_FILE: this.cert, TLS_KEY_FILE: this.key };
  }
}

/** GETs, or sends with a method: { status, headers, body, name: of the certificate }; rejects what is not trusted. */
export function ask(url, { ca, method = 'GET', headers = {}, body } = {}) {
  return new Promise((done, reject) => {
    const sent = https(url, { method, ca, agent: false, headers }, async (from) => {
      const name = from.socket.getPeerCertificate().subject.CN;
      const chunks = [];
      for await (const chunk of from) chunks.push(chunk);
      done({ status: from.statusCode, headers: from.headers, body: Buffer.concat(chunks).toString(), name });
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

/** The name of the certificate that host:port shows, or the error of the handshake. */
export function handshake(address, options) {
  const [host, port] = address.split(':');
  return new Promise((done) => {
    const socket = connect({ host, port, rejectUnauthorized: false, ...options }, () => {
      done({ name: socket.getPeerCertificate().subject.CN, protocol: socket.getProtocol() });
      socket.destroy();
    });
    socket.on('error', (error) => done({ error }));
  });
}

/** A server that does TLS on its public port, and with HEALTH_TLS on the other as well. */
export class SecureServer {
  static async start(t, redis, authority, files, env = {}) {
    const { PATH, HOME } = process.env;
    const server = new SecureServer();
    server.authority = authority;
    server.internal = env.HEALTH_TLS === 'true' ? 'https' : 'http';
    server.program = new Program(binary, ['serve'], {
      env: {
        PATH, HOME, WEBSOCKET_HOST: '127.0.0.1', WEBSOCKET_PORT: '0', HEALTH_HOST: '127.0.0.1', HEALTH_PORT: '0', DRAIN_TIMEOUT: '300ms',
        JWT_SECRET: SECRET, REDIS_HOST: '127.0.0.1', REDIS_PORT: String(redis.port), ...files.env, ...env,
      },
    });
    cleanup(t, () => server.program.stop());
    server.addresses = await until(() => server.logged('listening'), () => `a listening line\n${server.program.stderr}`);
    server.url = `https://${server.addresses.websocket}`;
    await until(async () => (await server.health('/health/ready')).status === 200, () => `readiness\n${server.program.stderr}`);
    return server;
  }

  /** The last line of the log with that message. */
  logged(message) {
    if (this.program.end) throw new Error(`it ended: ${this.program.stderr}`);
    return this.program.stderr.split('\n').filter((line) => line.includes(message)).map((line) => JSON.parse(line)).at(-1);
  }

  /** Asks the health port: { status, body }. */
  async health(path, options) {
    const url = `${this.internal}://${this.addresses.health}${path}`;
    if (this.internal === 'https') return ask(url, { ca: this.authority.pem, ...options });
    const answer = await fetch(url, { headers: { connection: 'close' }, ...options });
    return { status: answer.status, body: await answer.text() };
  }
}
