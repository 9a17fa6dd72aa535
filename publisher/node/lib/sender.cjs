// One try to bring events to Redis: the commands, and what to make of the answers.
'use strict';

const { createHash } = require('node:crypto');
const { NotReplicatedError } = require('./errors.cjs');
const { Connection, kindOf } = require('./connection.cjs');

class Sender {
  #client;
  #kind;
  #config;
  #connection;

  /** Whether what several calls publish may go together: not if a user may not have transactions. */
  together = true;

  constructor(client, config) {
    this.#kind = kindOf(client, config);
    this.#client = client;
    this.#config = config;
    this.#connection = Connection.of(client);
    this.#connection.enter();
  }

  close() {
    this.#connection.leave();
  }

  /** Whether the client will never answer unless somebody connects it. */
  get isClosed() {
    return this.#kind === 'node-redis' ? !this.#client.isOpen : this.#client.status === 'end';
  }

  /** Why there may be no answer: while the client has no connection, it may only keep what it is asked. */
  get trouble() {
    const ready = this.#kind === 'node-redis' ? this.#client.isReady : this.#client.status === 'ready';
    return ready ? undefined : new Error('the Redis client is not connected');
  }

  /**
   * Sends events of a channel one after the other, several of them as a transaction, without another between them.
   * Rejects unless Redis has accepted all, and replicas, if there must be some, have confirmed them; they have until a
   * deadline, as performance.now() counts.
   */
  send(channel, texts, deadline) {
    return this.#connection.ask(async () => {
      const commands = texts.map((text) => this.#command(channel, text));
      const { answers, replicas } = await this.#ask(channel, commands, deadline);
      for (const answer of answers) {
        // A number of receivers, or an entry's id. QUEUED is the answer within somebody else's transaction.
        if (!/^\d+(-\d+)?$/.test(String(answer))) throw new Error(`Redis answered ${String(answer).slice(0, 64)}: want a client that nobody else uses for transactions`);
      }
      if (replicas < this.#config.replicas) throw new NotReplicatedError(replicas, this.#config.replicas);
    });
  }

  #command(channel, text) {
    const { durable, prefix, maxLen } = this.#config;
    return durable ? ['xadd', prefix + channel, 'MAXLEN', '~', String(maxLen), '*', 'event', text] : ['publish', channel, text];
  }

  #ask(channel, commands, deadline) {
    return this.#kind === 'node-redis' ? this.#askNodeRedis(commands, deadline) : this.#askIoredis(this.#node(channel), commands, deadline);
  }

  /** Everything goes out at once, on one connection, and again as a whole, if at all: WAIT is about what its own connection has written. */
  async #askIoredis(client, commands, deadline) {
    try {
      return await this.#pipeline(client, commands, deadline);
    } catch (error) {
      if (error.command?.args) error.command = { name: error.command.name }; // errors end in logs, events need not
      throw error;
    }
  }

  async #pipeline(client, commands, deadline) {
    const wait = this.#config.replicas > 0;
    const all = commands.length > 1 ? [['multi'], ...commands, ['exec']] : [...commands];
    const last = all.length - 1;
    if (wait) all.push(this.#wait(deadline));
    if (all.length === 1) {
      const [name, ...args] = all[0];
      return { answers: [await client.call(name, ...args)] };
    }
    const results = await client.pipeline(all).exec();
    const errors = results.map(([error]) => error).filter(Boolean);
    if (errors.length > 0) throw errors.find((e) => !e.message.startsWith('EXECABORT ')) ?? errors[0]; // why, not only that
    const answer = results[last][1];
    return { answers: commands.length > 1 ? inTransaction(answer) : [answer], replicas: wait ? Number(results.at(-1)[1]) : undefined };
  }

  /** What of a transaction goes out when is up to the client, so WAIT follows the answer, if it is still the same connection. */
  async #askNodeRedis(commands, deadline) {
    let answers;
    if (commands.length === 1) {
      answers = [await this.#client.sendCommand(commands[0])];
    } else {
      const multi = this.#client.multi();
      for (const command of commands) multi.addCommand(command);
      answers = inTransaction(await multi.exec().catch((error) => this.#reason(error, commands)));
    }
    if (this.#config.replicas === 0) return { answers };
    const { epoch } = this.#connection;
    const replicas = Number(await this.#client.sendCommand(this.#wait(deadline)));
    if (this.#connection.epoch !== epoch) throw new Error('the Redis client had connected again before the replicas confirmed');
    return { answers, replicas };
  }

  /**
   * Throws why a transaction failed. Of an aborted one redis 4 says only that it was: what its first command is refused
   * with alone is the reason. If that is done, it comes again with the others.
   */
  async #reason(error, commands) {
    if (error.message?.startsWith('EXECABORT ')) {
      await this.#client.sendCommand(commands[0]);
      throw new Error(error.message.replace('EXECABORT ', ''));
    }
    throw error.replies?.[error.errorIndexes?.[0]] ?? error; // the answer it is about
  }

  /**
   * To a cluster, PUBLISH has no key, so that each would go through a node chosen at random, which mixes up their order.
   * A channel keeps to one of the masters instead, as long as there are the same.
   */
  #node(channel) {
    if (this.#kind !== 'cluster' || this.#config.durable) return this.#client;
    if (this.#client.status === 'wait') this.#client.connect().catch(() => {}); // lazyConnect
    if (this.#client.status !== 'ready') throw new Error('the Cluster is not connected'); // it does not know all masters
    const masters = this.#client.nodes('master').sort((a, b) => (address(a) < address(b) ? -1 : 1));
    return masters[createHash('sha256').update(channel).digest().readUInt32BE() % masters.length];
  }

  /**
   * Its answer is here before the deadline, or the client's patience, ends. An idle Redis looks only ten times a second
   * whether the time of a WAIT is over.
   */
  #wait(deadline) {
    const { commandTimeout, socketTimeout, socket, commandOptions } = this.#client.options ?? {};
    const limits = [commandTimeout, socketTimeout, socket?.socketTimeout, commandOptions?.timeout].filter((ms) => ms > 0);
    const left = Math.min(deadline - performance.now(), ...limits);
    const time = Math.max(1, Math.floor(left - Math.min(left / 2, 250))); // to WAIT, 0 is for ever
    return ['wait', String(this.#config.replicas), String(time)];
  }
}

function inTransaction(answers) {
  if (!Array.isArray(answers)) throw new Error('the transaction was discarded: want a client that nobody else uses for WATCH');
  const failed = answers.find((answer) => answer instanceof Error);
  if (failed) throw failed;
  return answers;
}

function address({ options: { host, port } }) {
  return `${host}:${port}`;
}

/** Answers that a restart, a failover or a moving cluster explains. */
const PASSING = /^(LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|NOREPLICAS|MOVED|ASK|UNBLOCKED) |^ERR max number of clients reached/;

/** An answer of Redis begins with a word in capitals; what the clients say themselves does not. */
const ANSWER = /^[A-Z][A-Z0-9_]+ /;

/** Whether to try again: after all that is no answer of Redis, but a broken connection or none, and after answers that pass. */
function isTransient(error) {
  if (error instanceof NotReplicatedError) return false;
  const message = String(error?.message);
  return PASSING.test(message) || !ANSWER.test(message);
}

/** Whether a user may not have transactions. The commands between MULTI and EXEC have been done then, each alone. */
function isNoTransaction(error) {
  return /^NOPERM .*'(multi|exec)'/i.test(String(error?.message));
}

module.exports = { Sender, isNoTransaction, isTransient };
