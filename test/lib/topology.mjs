// More than one redis-server: a master with replicas under Sentinels, and a Redis Cluster. Gone after the run, as one alone.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { until } from './await.mjs';
import { freePort, RedisServer } from './redis.mjs';

const SETTLE = 90_000; // ms for elections and first copies: a Sentinel that was not let run for 2 s does nothing for 30 s (TILT)

/** A master, two replicas, three Sentinels. */
export class SentinelGroup {
  master = 'mymaster';

  static async start() {
    const group = new SentinelGroup();
    const settings = { 'repl-diskless-sync-delay': 0 };
    const first = await RedisServer.start({ settings });
    group.nodes = [first];
    try {
      for (let i = 0; i < 2; i += 1) {
        group.nodes.push(await RedisServer.start({ settings: { ...settings, replicaof: ['127.0.0.1', first.port] } }));
      }
      group.sentinels = await Promise.all([1, 2, 3].map(() => startSentinel(group.master, first.port)));
      group.nodes.push(...group.sentinels); // to be removed with the others
      await group.settled();
    } catch (error) {
      await group.remove();
      throw error;
    }
    return group;
  }

  get addresses() {
    return this.sentinels.map(({ port }) => `127.0.0.1:${port}`);
  }

  /** The port of the master, as most Sentinels know it. */
  async masterPort() {
    const votes = await Promise.all(this.sentinels.map(async ({ client }) => {
      const [, port] = await client.call('SENTINEL', 'get-master-addr-by-name', this.master);
      return Number(port);
    }));
    return votes.find((port) => votes.filter((other) => other === port).length > votes.length / 2);
  }

  async masterServer() {
    const port = await this.masterPort();
    return this.nodes.find((node) => node.port === port);
  }

  /** Kills the master and resolves with it once the Sentinels have made another one. */
  async failOver() {
    const dead = await this.masterServer();
    await dead.stop('SIGKILL');
    await until(async () => {
      const port = await this.masterPort();
      return port && port !== dead.port;
    }, 'the Sentinels to promote a replica', SETTLE);
    return dead;
  }

  /** Resolves once every Sentinel knows two replicas and two other Sentinels, and every replica has its copy. */
  async settled() {
    await until(async () => {
      const views = await Promise.all(this.sentinels.map(({ client }) => client.call('SENTINEL', 'master', this.master)));
      return views.every((view) => field(view, 'num-slaves') === '2' && field(view, 'num-other-sentinels') === '2');
    }, 'the Sentinels to know each other', SETTLE);
    const master = await this.masterServer();
    await until(async () => {
      const info = await master.client.info('replication');
      return (info.match(/state=online/g) ?? []).length === 2;
    }, 'two replicas in step', SETTLE);
  }

  async remove() {
    await Promise.allSettled(this.nodes.map((node) => node.remove()));
  }
}

async function startSentinel(name, masterPort) {
  const sentinel = await RedisServer.start(); // a server first: it finds the port and the directory
  await sentinel.stop('SIGKILL');
  const file = join(sentinel.directory, 'sentinel.conf');
  writeFileSync(file, [
    `port ${sentinel.port}`, 'bind 127.0.0.1', `dir ${sentinel.directory}`,
    `sentinel monitor ${name} 127.0.0.1 ${masterPort} 2`,
    `sentinel down-after-milliseconds ${name} 2000`, `sentinel failover-timeout ${name} 5000`, '',
  ].join('\n'));
  await sentinel.startAs([file, '--sentinel'], '+monitor master');
  return sentinel;
}

function field(pairs, name) {
  return pairs[pairs.indexOf(name) + 1];
}

/** Three masters with a replica each. */
export class RedisCluster {
  static async start() {
    const cluster = new RedisCluster();
    cluster.nodes = [];
    try {
      for (let i = 0; i < 6; i += 1) {
        cluster.nodes.push(await RedisServer.start({
          settings: {
            'cluster-enabled': 'yes', 'cluster-node-timeout': 1500, 'repl-diskless-sync-delay': 0,
            'cluster-port': await freePort(), 'cluster-replica-validity-factor': 0,
          },
        }));
      }
      await cluster.#meet();
      await cluster.settled();
    } catch (error) {
      await cluster.remove();
      throw error;
    }
    return cluster;
  }

  get addresses() {
    return this.nodes.map(({ port }) => `127.0.0.1:${port}`);
  }

  /** Resolves once every node that runs agrees that all slots are served, by masters with a replica in step each. */
  async settled() {
    await until(async () => {
      const states = await Promise.all(this.#running().map(async ({ client }) => {
        const [info, replication] = await Promise.all([client.cluster('INFO'), client.info('replication')]);
        return info.includes('cluster_state:ok') && /role:master[^]*connected_slaves:1|master_link_status:up/.test(replication);
      }));
      return states.every(Boolean);
    }, 'a Redis Cluster that is ok', SETTLE);
  }

  /** Makes one cluster of nodes that know nobody: the first three are masters, the others their replicas. */
  async #meet() {
    const [first] = this.nodes;
    for (const [i, { client }] of this.nodes.entries()) {
      await client.cluster('SET-CONFIG-EPOCH', i + 1);
      if (i > 0) await client.cluster('MEET', '127.0.0.1', first.port, first.settings['cluster-port']);
      if (i < 3) await client.cluster('ADDSLOTSRANGE', Math.ceil((i * 16384) / 3), Math.ceil(((i + 1) * 16384) / 3) - 1);
    }
    for (const [i, { client }] of this.nodes.entries()) {
      await until(async () => (await client.cluster('INFO')).includes('cluster_known_nodes:6'), 'six nodes to have met', SETTLE);
      if (i >= 3) await client.cluster('REPLICATE', await this.nodes[i - 3].client.cluster('MYID'));
    }
  }

  /** The master that holds the key. */
  async masterOf(key) {
    const [{ client }] = this.#running();
    const slot = await client.cluster('KEYSLOT', key);
    const ranges = await client.cluster('SLOTS');
    const [, , [, port]] = ranges.find(([from, to]) => from <= slot && slot <= to);
    return this.nodes.find((node) => node.port === port);
  }

  /** The keys of all streams on all masters that hold an entry with that field. */
  async streamsWith(name) {
    const found = [];
    for (const { client } of this.#running()) {
      if (!(await client.info('replication')).includes('role:master')) continue;
      let cursor = '0';
      do {
        const [next, keys] = await client.call('SCAN', cursor, 'COUNT', 1000, 'TYPE', 'stream');
        for (const key of keys) {
          const [[, fields] = [, []]] = await client.xrevrange(key, '+', '-', 'COUNT', 1);
          if (fields.includes(name)) found.push(key);
        }
        cursor = next;
      } while (cursor !== '0');
    }
    return found;
  }

  /** Kills the master of the key and resolves with it once its replica serves the slots. */
  async failOver(key) {
    const dead = await this.masterOf(key);
    await dead.stop('SIGKILL');
    await until(async () => {
      const master = await this.masterOf(key);
      return master !== dead && (await master.client.cluster('INFO')).includes('cluster_state:ok');
    }, 'the replica to be promoted', SETTLE);
    return dead;
  }

  async remove() {
    await Promise.allSettled(this.nodes.map((node) => node.remove()));
  }

  #running() {
    return this.nodes.filter(({ program }) => !program.end);
  }
}
