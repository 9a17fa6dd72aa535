// A load balancer that knows no sessions: each request, of an upgrade too, goes where `choose` says.
import { Agent, createServer, request } from 'node:http';
import { connect } from 'node:net';
import { cleanup } from './cleanup.mjs';

/** The next server for each request, whoever sends it. */
export const roundRobin = (_request, count) => count;

/** Sessions begin at the first server; everything else goes to the second. */
export const elsewhere = ({ url }) => (new URLSearchParams(url.split('?')[1]).has('sid') ? 1 : 0);

export class Balancer {
  #servers;
  #choose;
  #count = 0;

  static async start(t, servers, choose = roundRobin) {
    const balancer = new Balancer();
    balancer.#servers = servers;
    balancer.#choose = choose;
    const agent = new Agent({ keepAlive: true });
    const sockets = new Set();
    const listener = createServer((from, to) => balancer.#request(agent, from, to));
    listener.on('upgrade', (from, near, head) => balancer.#upgrade(sockets, from, near, head));
    await new Promise((resolve) => listener.listen(0, '127.0.0.1', resolve));
    cleanup(t, () => {
      for (const socket of sockets) socket.destroy();
      listener.close();
      listener.closeAllConnections();
      agent.destroy();
    });
    balancer.url = `http://127.0.0.1:${listener.address().port}`;
    return balancer;
  }

  #next(incoming) {
    const { length } = this.#servers;
    return Number(this.#servers[this.#choose(incoming, this.#count++) % length].port);
  }

  #request(agent, from, to) {
    const { method, url, headers } = from;
    const onward = request({ host: '127.0.0.1', port: this.#next(from), method, path: url, headers, agent }, (answer) => {
      to.writeHead(answer.statusCode, answer.headers);
      answer.pipe(to);
      answer.on('error', () => to.destroy());
    });
    onward.on('error', () => (to.headersSent ? to.destroy() : to.writeHead(502).end()));
    to.on('close', () => onward.destroy());
    from.pipe(onward);
  }

  #upgrade(sockets, from, near, head) {
    const far = connect(this.#next(from), '127.0.0.1');
    for (const [side, other] of [[near, far], [far, near]]) {
      sockets.add(side);
      side.on('error', () => side.destroy());
      side.on('close', () => {
        sockets.delete(side);
        other.destroy();
      });
    }
    const lines = [`GET ${from.url} HTTP/1.1`];
    for (let i = 0; i < from.rawHeaders.length; i += 2) lines.push(`${from.rawHeaders[i]}: ${from.rawHeaders[i + 1]}`);
    far.write(`${lines.join('\r\n')}\r\n\r\n`);
    far.write(head);
    near.pipe(far).pipe(near);
  }
}
