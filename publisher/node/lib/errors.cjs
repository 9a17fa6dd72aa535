// What may become of an event that is published. Programs tell the errors apart by code, people read the message.
'use strict';

/** The base of all errors here. event is { id, type, channel }, as far as they are known. */
class PublishError extends Error {
  constructor(code, message, { event = {}, cause } = {}) {
    super(`${prefix(event)}${message}`, cause === undefined ? undefined : { cause });
    this.name = new.target.name;
    this.code = code;
    this.eventId = event.id;
    this.channel = event.channel;
  }
}

/** Names in a message are the publisher's: bounded, and with nothing that would break a line of a log. */
function quoted(text) {
  return JSON.stringify(text.length > 300 ? `${text.slice(0, 300)}…` : text);
}

function prefix({ type, id, channel }) {
  if (typeof id !== 'string') return '';
  return `publish ${typeof type === 'string' ? `${quoted(type).slice(1, -1)} ` : ''}${quoted(id)}${channel ? ` on ${quoted(channel)}` : ''}: `;
}

/** The event breaks its schema, or cannot be an event of the bus: sending it again does not help. */
class EventInvalidError extends PublishError {
  constructor(problems, event) {
    super('EVENT_INVALID', `invalid event: ${problems.map((p) => `${p.field || 'the whole'}: ${p.message}`).join('; ')}`, { event });
    this.problems = problems; // [{ field: 'data.photoId', message: 'missing, want string' }]
  }
}

/** The event's JSON is longer than maxBytes. */
class EventTooLargeError extends PublishError {
  constructor(size, limit, event) {
    super('EVENT_TOO_LARGE', `${size} bytes of JSON, want at most ${limit}`, { event });
    this.size = size;
    this.limit = limit;
  }
}

/** The batch has more events than maxBatch: none of them was sent. */
class BatchTooLargeError extends PublishError {
  constructor(size, limit) {
    super('BATCH_TOO_LARGE', `batch has ${size} events: want at most ${limit}`);
    this.size = size;
    this.limit = limit;
  }
}

/** More than maxWaiting events would wait, because Redis is away or slow. The event was not sent. */
class BusyError extends PublishError {
  constructor(limit, event) {
    super('BUSY', `too many events wait for Redis: want at most ${limit}`, { event });
    this.limit = limit;
  }
}

/** Redis did not confirm the event within timeout. It may or may not have been sent, or be still on its way. */
class PublishTimeoutError extends PublishError {
  constructor(ms, { event, cause }) {
    super('TIMEOUT', `not confirmed by Redis within ${ms} ms; sending it again is safe${because(cause)}`, { event, cause });
  }
}

/** The AbortSignal was aborted first; cause is its reason. The event may or may not have been sent. */
class PublishAbortedError extends PublishError {
  constructor({ event, cause }) {
    super('ABORT_ERR', 'aborted; it may have been sent', { event, cause });
    this.name = 'AbortError'; // as everything that takes a signal names it
  }
}

/** Redis has the event, but fewer than `replicas` of its replicas confirmed it in time. */
class NotReplicatedError extends PublishError {
  constructor(got, wanted, event) {
    super('NOT_REPLICATED', `in the master of Redis, but not confirmed by enough replicas in time: ${got} of ${wanted}; sending it again is safe`, { event });
    this.replicas = got;
    this.wanted = wanted;
  }
}

/** The event was not sent, because it would have been before an earlier one of its batch and channel, which failed. */
class NotSentError extends PublishError {
  constructor({ event, cause }) {
    super('NOT_SENT', `not sent, as it would be before an earlier event that failed${because(cause)}`, { event, cause });
  }
}

/** Redis answered that it will not do it, such as NOPERM or OOM; cause is its answer. */
class RefusedError extends PublishError {
  constructor({ event, cause }) {
    super('REFUSED', `Redis refused it${because(cause)}`, { event, cause });
  }
}

/** The publisher or its Redis client is closed. */
class ClosedError extends PublishError {
  constructor(what, { event, cause } = {}) {
    super('CLOSED', `${what} is closed${because(cause)}`, { event, cause });
  }
}

function because(cause) {
  return cause?.message ? `: ${cause.message}` : '';
}

module.exports = {
  PublishError, EventInvalidError, EventTooLargeError, BatchTooLargeError, BusyError, PublishTimeoutError,
  PublishAbortedError, NotReplicatedError, NotSentError, RefusedError, ClosedError,
};
