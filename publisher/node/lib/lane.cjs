// The events of one channel, which leave one after the other.
'use strict';

const { ClosedError, NotReplicatedError, RefusedError } = require('./errors.cjs');
const { MAX_TRANSACTION } = require('./job.cjs');
const { isNoTransaction, isTransient } = require('./sender.cjs');

const MAX_TOGETHER = 1000; // events of several calls in one transaction
const FIRST_DELAY = 20; // ms, the bounds of the time before the second try, and before any
const MAX_DELAY = 1000;

/**
 * At any time the Redis client has at most one try of a lane. A try that seems to have failed may yet arrive, even
 * later than the next one. But each has the same events in the same order, after all that was accepted before, so
 * whatever gets through, what comes of them first is in order.
 */
class Lane {
  #channel;
  #sender;
  #queue = new Set(); // parts, in order
  #running = false;
  #emptied;

  /** emptied is called whenever nothing is left to do. */
  constructor(channel, sender, emptied) {
    this.#channel = channel;
    this.#sender = sender;
    this.#emptied = emptied;
  }

  add(job) {
    for (const part of job.parts) this.#queue.add(part);
    job.onend = () => { for (const part of job.parts) this.#queue.delete(part); };
    if (this.#running) return;
    this.#running = true;
    queueMicrotask(() => this.#run()); // so that what is published in one go travels together
  }

  async #run() {
    while (this.#queue.size > 0) await this.#deliver(this.#take());
    this.#running = false;
    this.#emptied();
  }

  /** The first that wait, as many as go into a transaction. */
  #take() {
    const parts = [];
    let [size, count] = [0, 0];
    for (const part of this.#queue) {
      size += part.size;
      count += part.count;
      if (parts.length > 0 && (size > MAX_TRANSACTION || count > MAX_TOGETHER || !this.#sender.together)) break;
      parts.push(part);
      this.#queue.delete(part);
    }
    return parts;
  }

  /** Tries until Redis has accepted them, or refused them, or nobody waits for them any more. */
  async #deliver(parts) {
    for (let attempt = 0; ; attempt += 1) {
      const left = parts.filter((part) => !part.job.ended);
      if (left.length === 0) return;
      const error = await this.#try(left);
      if (!error) {
        for (const part of left) part.job.accept(part);
        return;
      }
      if (error instanceof NotReplicatedError) {
        for (const { job } of left) job.fail((event) => new NotReplicatedError(error.replicas, error.wanted, event));
        return;
      }
      if (this.#sender.isClosed) {
        for (const { job } of left) job.fail((event) => new ClosedError('the Redis client', { event, cause: error }));
        return;
      }
      if (!isTransient(error)) {
        await this.#refused(left, error);
        return;
      }
      for (const { job } of left) job.failure = error;
      await pause(delay(attempt, Math.random()));
    }
  }

  /** It may be for one of several calls only, or for the transaction they were put into. */
  async #refused(parts, error) {
    if (parts.length > 1) {
      if (isNoTransaction(error)) this.#sender.together = false;
      for (const part of parts) await this.#deliver([part]);
      return;
    }
    parts[0].job.fail((event) => new RefusedError({ event, cause: error }));
  }

  async #try(parts) {
    for (const part of parts) part.flying = true;
    try {
      const deadline = Math.max(...parts.map((part) => part.job.deadline));
      await this.#sender.send(this.#channel, parts.flatMap((part) => part.texts), deadline);
      for (const part of parts) part.release();
      return undefined;
    } catch (error) {
      return error;
    } finally {
      for (const part of parts) {
        part.flying = false;
        if (part.job.ended) part.release();
      }
    }
  }
}

/** How long to wait after an attempt, counted from 0: up to a limit that doubles, so that not all come at once when Redis is back. */
function delay(attempt, dice) {
  return dice * Math.min(MAX_DELAY, FIRST_DELAY * 2 ** attempt);
}

function pause(ms) {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref(); // whoever waits has a deadline, which holds the process
  });
}

module.exports = { Lane };
