// A TCP proxy before the server, to break connections as no process can: on one side only.
import { connect, createServer } from 'node:net';
import { cleanup } from './cleanup.mjs';

export class Proxy {
  #pairs = new Set(); // [from the client, to the server]

  static async start(t, server) {
    const proxy = new Proxy();
    const port = Number(server.port);
    const listener = createServer((near) => {
      const far = connect(port, '127.0.0.1');
      for (const side of [near, far]) side.on('error', () => side.destroy());
      near.pipe(far).pipe(near);
      proxy.#pairs.add([near, far]);
    });
    await new Promise((resolve) => listener.listen(0, '127.0.0.1', resolve));
    cleanup(t, () => {
      for (const pair of proxy.#pairs) for (const side of pair) side.destroy();
      listener.close();
    });
    proxy.url = `http://127.0.0.1:${listener.address().port}`;
    return proxy;
  }

  /** The clients lose their connections; the server hears nothing of it, not even that nobody reads. */
  cut() {
    for (const [near, far] of this.#pairs) {
      near.unpipe(far);
      far.unpipe(near);
      near.destroy();
      far.resume();
    }
  }
}
