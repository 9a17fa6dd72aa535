// A receiver of webhooks: a real HTTP server that answers as it is told, remembers everything, and checks signatures by
// the text of the Standard Webhooks specification, not by our code.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { createServer } from 'node:http';
import { until } from './await.mjs';
import { cleanup } from './cleanup.mjs';

/** What lets a server post to a Receiver. */
export const ALLOWED = { WEBHOOK_ALLOW_HTTP: 'true', WEBHOOK_ALLOW_PRIVATE: '127.0.0.0/8' };

/** What makes the retries of a test short: ms. */
export const SOON = { resilience: { baseRetryDelay: { default: 50 }, maxRetryDelay: { default: 2000 } } };

export class Receiver {
  requests = []; // { at (ms), method, path, headers, body (text), event, id }, in the order they came

  /** Starts one that answers 200 until answer is set to another function of a request: { status, headers }, 'hang' or 'reset'. */
  static async start(t) {
    const receiver = new Receiver();
    receiver.answer = () => ({});
    const server = createServer((from, to) => receiver.#take(from, to));
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    receiver.url = `http://127.0.0.1:${server.address().port}/hook`;
    cleanup(t, () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    });
    return receiver;
  }

  async #take(from, to) {
    const chunks = [];
    try {
      for await (const chunk of from) chunks.push(chunk);
    } catch {
      return; // the sender has gone before it had sent all
    }
    const body = Buffer.concat(chunks).toString();
    const request = {
      at: performance.now(), method: from.method, path: from.url, headers: from.headers, body, event: JSON.parse(body), id: from.headers['webhook-id'],
    };
    this.requests.push(request);
    const answer = await this.answer(request);
    if (answer === 'hang') return;
    if (answer === 'reset') {
      from.socket.resetAndDestroy();
      return;
    }
    request.status = answer.status ?? 200;
    to.writeHead(request.status, answer.headers).end();
  }

  /** The requests about one event. */
  of(event) {
    return this.requests.filter((request) => request.event.id === event.id);
  }

  /** The events that were taken, in the order of their requests, each as often as it was taken. */
  get taken() {
    return this.requests.filter(({ status }) => status >= 200 && status < 300).map(({ event }) => event);
  }

  /** Resolves with the requests once there are at least count. */
  async received(count, ms) {
    await until(() => this.requests.length >= count, () => `${count} requests, got ${JSON.stringify(this.requests.map((r) => r.event.id))}`, ms);
    return this.requests;
  }

  /** Resolves once all of these events were taken. */
  async took(events, ms) {
    const missing = () => {
      const ids = new Set(this.taken.map(({ id }) => id));
      return events.filter(({ id }) => !ids.has(id));
    };
    await until(() => missing().length === 0, () => `the webhook to take ${missing().length} more of ${events.length} events`, ms);
  }
}

/** The request is signed with the secret, as Standard Webhooks 1.0 has it, and recently. */
export function assertSigned({ headers, body }, secret) {
  const key = secret.startsWith('whsec_') ? Buffer.from(secret.slice('whsec_'.length), 'base64') : Buffer.from(secret);
  const { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signature } = headers;
  assert.match(timestamp, /^\d{10}$/);
  assert.ok(Math.abs(Date.now() / 1000 - Number(timestamp)) < 60, `signed at ${timestamp}`);
  const want = createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64');
  assert.deepEqual(signature.split(' '), [`v1,${want}`]);
}

/** Pauses between the requests, ms. */
export function pauses(requests) {
  return requests.slice(1).map(({ at }, i) => at - requests[i].at);
}
