// The calls: what they check, count and bound. What they send goes through the lanes of its channels.
'use strict';

const { configure } = require('./config.cjs');
const { encode, named } = require('./encode.cjs');
const { BatchTooLargeError, BusyError, ClosedError, EventInvalidError, PublishAbortedError } = require('./errors.cjs');
const { channelOf, createEvent } = require('./event.cjs');
const { Job } = require('./job.cjs');
const { Lane } = require('./lane.cjs');
const { Sender } = require('./sender.cjs');

class Publisher {
  #config;
  #sender;
  #lanes = new Map(); // by channel, those with something to do
  #jobs = new Set(); // that have not ended
  #waiting = 0;
  #closed; // a promise, once close is called

  constructor(client, options) {
    this.#config = configure(options);
    this.#sender = new Sender(client, this.#config);
  }

  get waiting() {
    return this.#waiting;
  }

  createEvent(type, data, metadata) {
    return createEvent(type, data, { ...metadata, source: metadata?.source ?? this.#config.source });
  }

  async publish(event, options = {}) {
    const [result] = await this.#publishAll([{ event, channel: options.channel }], options);
    if (!result.ok) throw result.error;
  }

  async publishTo(channel, event, options) {
    return this.publish(event, { ...options, channel: channel ?? '' });
  }

  async publishBatch(events, options = {}) {
    return this.#publishAll(list(events).map((event) => ({ event, channel: options.channel })), options);
  }

  async publishAll(batch, options = {}) {
    return this.#publishAll(list(batch).map((one) => ({ event: one?.event, channel: one?.channel })), options);
  }

  /** Everything up to the first await happens within the call, so that calls keep their order. */
  async #publishAll(batch, { signal }) {
    if (signal !== undefined && typeof signal?.addEventListener !== 'function') throw new TypeError('signal: want an AbortSignal');
    if (batch.length > this.#config.maxBatch) {
      return batch.map(() => refused(new BatchTooLargeError(batch.length, this.#config.maxBatch)));
    }
    const results = new Array(batch.length);
    const good = []; // { id, type, text, size, channel, place }
    batch.forEach(({ event, channel }, place) => {
      try {
        good.push({ ...this.#checked(event, channel), place });
      } catch (error) {
        results[place] = refused(error, event, channel);
      }
    });
    const wrong = this.#unable(good.length, signal);
    if (wrong) {
      for (const one of good) results[one.place] = refused(wrong(one), one, one.channel);
      return results;
    }
    const channels = new Map();
    for (const one of good) {
      if (!channels.has(one.channel)) channels.set(one.channel, []);
      channels.get(one.channel).push(one);
    }
    await Promise.all([...channels].map(async ([channel, events]) => {
      const errors = await this.#send(channel, events, signal);
      events.forEach(({ id, place }, i) => {
        results[place] = errors[i] ? refused(errors[i], { id }, channel) : { ok: true, id, channel };
      });
    }));
    return results;
  }

  #checked(event, channel) {
    const encoded = encode(event, this.#config);
    const to = channel ?? channelOf(encoded.type);
    if (typeof to !== 'string' || to === '') {
      throw new EventInvalidError([{ field: 'channel', message: 'missing, want the name of a channel' }], encoded);
    }
    return { ...encoded, channel: to };
  }

  /** Why n events are not taken: a function that makes the error of one. */
  #unable(n, signal) {
    if (this.#closed) return (event) => new ClosedError('the publisher', { event });
    if (signal?.aborted) return (event) => new PublishAbortedError({ event, cause: signal.reason });
    if (this.#waiting + n > this.#config.maxWaiting) return (event) => new BusyError(this.#config.maxWaiting, event);
    return undefined;
  }

  async #send(channel, events, signal) {
    this.#waiting += events.length;
    const job = new Job(channel, events, {
      timeout: this.#config.timeout,
      signal,
      leave: (n) => { this.#waiting -= n; },
      trouble: () => this.#sender.trouble,
    });
    this.#jobs.add(job);
    this.#lane(channel).add(job);
    try {
      return await job.promise;
    } finally {
      this.#jobs.delete(job);
    }
  }

  #lane(channel) {
    let lane = this.#lanes.get(channel);
    if (!lane) {
      lane = new Lane(channel, this.#sender, () => this.#lanes.delete(channel));
      this.#lanes.set(channel, lane);
    }
    return lane;
  }

  async close({ timeout = this.#config.timeout } = {}) {
    if (!(timeout >= 0)) throw new TypeError('timeout: want milliseconds, 0 or more');
    this.#closed ??= this.#close(timeout);
    return this.#closed;
  }

  async #close(timeout) {
    const ended = Promise.all([...this.#jobs].map((job) => job.promise));
    let timer;
    const late = new Promise((resolve) => { timer = setTimeout(resolve, Math.min(timeout, 0x7fffffff)); });
    await Promise.race([ended, late]);
    clearTimeout(timer);
    const left = [...this.#jobs].filter((job) => !job.ended);
    for (const job of left) job.fail((event) => new ClosedError('the publisher', { event, cause: job.why }));
    const results = await Promise.all(left.map((job) => job.promise));
    this.#sender.close();
    return results.flat().filter(Boolean).length;
  }
}

function list(events) {
  if (!Array.isArray(events)) throw new TypeError('a batch: want an array');
  return events;
}

function refused(error, event, channel) {
  const { id } = named(event);
  return { ok: false, id: typeof id === 'string' ? id : undefined, channel, error };
}

module.exports = { Publisher };
