// A websocket that speaks Engine.IO by hand, for what no official client would send or leave unsent.
import WebSocket from 'ws';
import { until } from './await.mjs';
import { cleanup } from './cleanup.mjs';
import { token, unique } from './tokens.mjs';

export class RawClient {
  frames = []; // text frames from the server, in order

  /** Opens the Engine.IO session; 0{"sid":...} has arrived. */
  static async open(t, server) {
    const raw = new RawClient();
    raw.ws = new WebSocket(`${server.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`);
    raw.ws.on('message', (data) => raw.frames.push(data.toString()));
    raw.ws.on('error', () => {}); // the close that follows tells
    cleanup(t, () => raw.ws.terminate());
    await raw.frame('0{');
    return raw;
  }

  /** Opens a session and connects to the main namespace with a good token. */
  static async connect(t, server) {
    const raw = await RawClient.open(t, server);
    raw.send(`40${JSON.stringify({ token: token({ userId: unique('raw') }) })}`);
    await raw.frame('40{');
    return raw;
  }

  send(frame) {
    this.ws.send(frame);
  }

  get closed() {
    return this.ws.readyState === WebSocket.CLOSED;
  }

  frame(prefix) {
    return until(() => this.frames.find((f) => f.startsWith(prefix)), () => `a frame ${prefix}, got ${this.frames}`);
  }
}
