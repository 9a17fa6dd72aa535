// What one call publishes on one channel, and how it ends.
'use strict';

const { onAbort } = require('./abort.cjs');
const { NotSentError, PublishAbortedError, PublishTimeoutError } = require('./errors.cjs');

/** About how many bytes of events go into one transaction: Redis does nothing else while it runs. */
const MAX_TRANSACTION = 4 << 20;

/** Events that are accepted together or not at all. */
class Part {
  flying = false; // the Redis client has them
  #leave;

  constructor(job, from, events, leave) {
    this.job = job;
    this.from = from; // the place of the first one in the job
    this.texts = events.map((e) => e.text);
    this.count = events.length;
    this.size = sizeOf(events);
    this.#leave = leave;
  }

  /** Nobody waits for these any more, and nobody holds them. */
  release() {
    this.#leave?.(this.count);
    this.#leave = undefined;
  }
}

class Job {
  ended = false;
  failure; // of the last try
  #events;
  #channel;
  #timer;
  #forget; // the signal
  #trouble;
  #resolve;
  #errors;
  #accepted = 0;

  /** Its promise resolves with an error, or undefined, for each event. leave(n) is called for its n events, when nothing holds them; trouble() says why there is no answer. */
  constructor(channel, events, { timeout, signal, leave, trouble }) {
    this.#channel = channel;
    this.#events = events;
    this.#trouble = trouble;
    this.#errors = new Array(events.length);
    this.parts = cut(events).map(([from, some]) => new Part(this, from, some, leave));
    this.promise = new Promise((resolve) => { this.#resolve = resolve; });
    this.deadline = performance.now() + timeout;
    this.#timer = setTimeout(() => this.fail((event) => new PublishTimeoutError(timeout, { event, cause: this.why })), timeout);
    this.#forget = signal && onAbort(signal, () => this.fail((event) => new PublishAbortedError({ event, cause: signal.reason })));
  }

  /** Called when it has ended, whatever way. */
  onend;

  /** Why it has not ended: what went wrong last, if anything did. */
  get why() {
    return this.failure ?? this.#trouble();
  }

  accept(part) {
    if (this.ended) return;
    this.#accepted = part.from + part.count;
    if (this.#accepted === this.#events.length) this.#end();
  }

  /** Nothing more of it is accepted. Those of the part it waits for get make's errors, and those after them a NotSentError. */
  fail(make) {
    if (this.ended) return;
    const part = this.parts.find((p) => p.from >= this.#accepted);
    this.#events.forEach((event, i) => {
      const named = { id: event.id, type: event.type, channel: this.#channel };
      if (i < this.#accepted) return;
      this.#errors[i] = i < part.from + part.count ? make(named) : new NotSentError({ event: named, cause: this.#errors[part.from] });
    });
    this.#end();
  }

  #end() {
    this.ended = true;
    clearTimeout(this.#timer);
    this.#forget?.();
    for (const part of this.parts) if (!part.flying) part.release();
    this.onend?.();
    this.#resolve(this.#errors);
  }
}

/** [place, events] of each part: as many as fit into a transaction, or one. */
function cut(events) {
  const parts = [];
  for (let from = 0; from < events.length;) {
    let to = from + 1;
    for (let size = events[from].size; to < events.length; to += 1) {
      size += events[to].size;
      if (size > MAX_TRANSACTION) break;
    }
    parts.push([from, events.slice(from, to)]);
    from = to;
  }
  return parts;
}

function sizeOf(events) {
  return events.reduce((sum, e) => sum + e.size, 0);
}

module.exports = { Job, MAX_TRANSACTION };
