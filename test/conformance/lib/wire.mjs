// A websocket client that sends what it is told to, however wrong, and notes all that comes.
import { randomBytes } from 'node:crypto';
import WebSocket from 'ws';
import { until } from '../../lib/await.mjs';
import { cleanup } from '../../lib/cleanup.mjs';
import { normal } from './normal.mjs';

const FENCE = '40/fence,';
const FENCE_ANSWER = '44/fence,{"message":"Invalid namespace"}';

export class Wire {
  packets = []; // Engine.IO packets as they came: text, or a Buffer
  pings = 0;

  static async open(twin, t, query = '') {
    const wire = new Wire();
    wire.ws = new WebSocket(`${twin.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket${query}`, { perMessageDeflate: false });
    cleanup(t, () => wire.ws.terminate());
    wire.ws.on('error', () => {}); // the close that follows tells
    wire.ws.on('close', (code) => { wire.closed = code; });
    wire.ws.on('message', (data, binary) => wire.take(binary ? data : data.toString()));
    await until(() => wire.ws.readyState !== WebSocket.CONNECTING, 'a websocket');
    if (!query) await until(() => wire.packets.shift(), 'OPEN');
    return wire;
  }

  take(packet) {
    if (packet !== '2') {
      this.packets.push(packet);
      return;
    }
    this.pings++;
    if (!this.silent) this.ws.send('3');
  }

  send(...packets) {
    for (const packet of packets) this.ws.send(packet);
  }

  /** Writes bytes past the websocket library. */
  write(...chunks) {
    this.ws._socket.write(Buffer.concat(chunks));
  }

  get over() {
    return this.closed !== undefined;
  }

  /** Waits until whatever was sent is answered: a question that a server always answers comes back, twice. */
  async settle() {
    for (let i = 0; i < 2 && !this.over; i++) {
      this.ws.send(FENCE);
      await until(() => this.packets.includes(FENCE_ANSWER) || this.over, () => `an answer, got ${this.packets}`);
      this.packets = this.packets.filter((packet) => packet !== FENCE_ANSWER);
    }
  }

  async end() {
    await until(() => this.over, () => `the end, got ${this.packets}`);
  }

  /** All that came: Socket.IO packets without what is different each time, others as they are, and how it ended. */
  seen() {
    const out = this.packets.map((p) => (typeof p !== 'string' || p[0] === '4' ? normal(typeof p === 'string' ? p.slice(1) : p) : `engine ${p}`));
    return [...out, this.over ? `closed ${this.closed}` : 'open'];
  }
}

/**
 * A script that sends Socket.IO packets, Buffers as attachments, and resolves with all that came. Each waits for what the
 * one before is answered with, but for attachments: the official server takes a moment to connect.
 */
export const talk = (...packets) => async (twin, t) => {
  const wire = await Wire.open(twin, t);
  for (const [i, packet] of packets.entries()) {
    wire.send(typeof packet === 'string' ? `4${packet}` : packet);
    const more = Buffer.isBuffer(packets[i + 1]) && (Buffer.isBuffer(packet) || /^[56]/.test(packet));
    if (!more) await wire.settle();
    if (wire.over) break;
  }
  return wire.seen();
};

/** A websocket frame, masked unless told otherwise (RFC 6455 section 5.2). */
export function frame(opcode, payload = '', { fin = true, rsv = 0, masked = true, length } = {}) {
  const body = Buffer.from(payload);
  const n = length ?? body.length;
  const head = [(fin ? 0x80 : 0) | (rsv << 4) | opcode];
  const bit = masked ? 0x80 : 0;
  if (n <= 125) head.push(bit | n);
  else if (n <= 0xffff) head.push(bit | 126, n >> 8, n & 0xff);
  else head.push(bit | 127, 0, 0, 0, 0, ...[24, 16, 8, 0].map((shift) => (n >>> shift) & 0xff));
  if (!masked) return Buffer.concat([Buffer.from(head), body]);
  const mask = randomBytes(4);
  return Buffer.concat([Buffer.from(head), mask, body.map((byte, i) => byte ^ mask[i % 4])]);
}
