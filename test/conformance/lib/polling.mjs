// A long-polling client that sends what it is told to, however wrong.
import http from 'node:http';
import net from 'node:net';
import { within } from '../../lib/await.mjs';
import { normal } from './normal.mjs';

const SEPARATOR = '\x1e';

/** Sends a request and resolves with { status, type, body }. A path without a slash in front is a query. */
export function request(twin, query, { method = 'GET', body, headers = {} } = {}) {
  return within(new Promise((resolve, reject) => {
    const req = http.request(`${twin.url}/socket.io/?${query}`, { method, headers, agent: false }, (res) => {
      res.setEncoding('utf8');
      let text = '';
      res.on('data', (chunk) => { text += chunk; });
      res.on('end', () => resolve({ status: res.statusCode, type: res.headers['content-type'] ?? null, body: text }));
      res.on('error', reject);
    });
    req.on('upgrade', (res, socket) => { socket.destroy(); resolve({ status: res.statusCode }); });
    req.on('error', (error) => (['ECONNRESET', 'EPIPE'].includes(error.code) ? resolve({ reset: true }) : reject(error)));
    req.end(body);
  }), `an answer to ${method} ${query}`);
}

export class Poll {
  packets = [];

  static async open(twin) {
    const poll = new Poll();
    poll.twin = twin;
    const { body } = await request(twin, 'EIO=4&transport=polling');
    poll.opened = JSON.parse(body.split(SEPARATOR)[0].slice(1));
    poll.query = `EIO=4&transport=polling&sid=${poll.opened.sid}`;
    return poll;
  }

  post(body, options) {
    return request(this.twin, this.query, { method: 'POST', body, headers: { 'content-type': 'text/plain;charset=UTF-8' }, ...options });
  }

  get() {
    return request(this.twin, this.query);
  }

  /** Polls until a packet comes that matches, or until it is refused; pings are answered. */
  async until(matches) {
    for (;;) {
      const { status, body } = await this.get();
      if (status !== 200) {
        this.packets.push(`refused ${status}`);
        return;
      }
      const packets = body.split(SEPARATOR);
      if (packets.includes('2')) await this.post('3');
      this.packets.push(...packets.filter((packet) => packet !== '2' && packet !== '6'));
      if (packets.some(matches) || packets.includes('1')) return;
    }
  }

  seen() {
    return this.packets.map((p) => (p[0] === '4' ? normal(p.slice(1)) : p));
  }
}

/**
 * Posts packets and resolves with what the POST was answered with, and all that came. CONNECT, where it is the first, goes
 * and is answered alone: the official server takes a moment.
 */
export const exchange = (...packets) => async (twin) => {
  const poll = await Poll.open(twin);
  const alone = packets[0] === '40' && packets.length > 1;
  if (alone) {
    await poll.post('40');
    await poll.until((packet) => packet.startsWith('42["auth"'));
  }
  const answer = await poll.post(packets.slice(alone ? 1 : 0).join(SEPARATOR));
  await poll.post('40/fence,');
  await poll.until((packet) => packet.startsWith('44/fence,'));
  return { answer, seen: poll.seen() };
};

/** Writes bytes to a TCP connection of its own and resolves with all that comes until the server closes, or the client after ms. */
export function tcp(twin, bytes, ms) {
  return within(new Promise((resolve) => {
    let text = '';
    const socket = net.connect(twin.port, '127.0.0.1', () => {
      socket.write(bytes);
      if (ms) setTimeout(() => socket.destroy(), ms);
    });
    socket.setEncoding('utf8').on('data', (chunk) => { text += chunk; });
    socket.on('close', () => resolve(text)).on('error', () => {});
  }), 'the end of a TCP connection');
}
