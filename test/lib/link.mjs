// A TCP link between a server and its Redis that can be harmed: reset, cut for a while, frozen for a while.
import { connect, createServer } from 'node:net';

export class Link {
  #pairs = new Set(); // { near, far }
  #cut = false;
  #frozen = false;

  /** A link to a port of this host; the server is told to use port instead. */
  static async start(target) {
    const link = new Link();
    link.target = Number(target);
    link.listener = createServer({ pauseOnConnect: true, noDelay: true }, (near) => link.#accept(near));
    await new Promise((resolve) => link.listener.listen(0, '127.0.0.1', resolve));
    link.port = link.listener.address().port;
    return link;
  }

  /** Resets all connections; new ones are welcome. */
  reset() {
    for (const { near, far } of this.#pairs) {
      near.resetAndDestroy();
      far?.resetAndDestroy();
    }
  }

  /** Resets all connections, and new ones too until mend. */
  cut() {
    this.#cut = true;
    this.reset();
  }

  mend() {
    this.#cut = false;
  }

  /** Passes nothing until thaw, and loses nothing: what is sent meanwhile waits, new connections as well. */
  freeze() {
    this.#frozen = true;
    for (const { near, far } of this.#pairs) {
      near.unpipe(far);
      far?.unpipe(near);
      near.pause();
      far?.pause();
    }
  }

  thaw() {
    this.#frozen = false;
    for (const pair of this.#pairs) this.#join(pair);
  }

  close() {
    this.listener.close();
    this.reset();
  }

  #accept(near) {
    near.on('error', () => {}); // the close that follows tells
    if (this.#cut) return near.resetAndDestroy();
    const pair = { near };
    this.#pairs.add(pair);
    near.once('close', () => {
      this.#pairs.delete(pair);
      pair.far?.destroy();
    });
    if (!this.#frozen) this.#join(pair);
    return undefined;
  }

  #join(pair) {
    if (!pair.far) {
      pair.far = connect({ port: this.target, host: '127.0.0.1', noDelay: true });
      pair.far.on('error', () => {});
      pair.far.once('close', () => pair.near.destroy());
    }
    pair.near.pipe(pair.far).pipe(pair.near);
  }
}
