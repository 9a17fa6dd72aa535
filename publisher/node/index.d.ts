// Publishing to the Event Bus Service from Node. The README of the package has examples.
import type { BusEvent, Event, EventDataByType, EventMetadata, EventType } from "./events.js";

export * from "./events.js";

/** What is used of a Redis or Cluster of ioredis. */
export interface IoredisClient {
  readonly status: string;
  call(command: string, ...args: any[]): Promise<unknown>;
  pipeline(commands?: any[][]): { exec(...args: any[]): Promise<any> };
  on(event: any, listener: (...args: any[]) => void): unknown;
  removeListener(event: any, listener: (...args: any[]) => void): unknown;
}

/** What is used of a client of redis (node-redis), versions 4 to 6, as createClient returns it: no pool, cluster or sentinel. */
export interface NodeRedisClient {
  readonly isOpen: boolean;
  readonly isReady: boolean;
  sendCommand(args: any, ...more: any[]): Promise<any>;
  multi(): any;
  on(event: any, listener: (...args: any[]) => void): unknown;
  removeListener(event: any, listener: (...args: any[]) => void): unknown;
}

/** The Redis client, which remains yours: its address, its options, and to close it. */
export type RedisClient = IoredisClient | NodeRedisClient;

export interface PublisherOptions {
  /** The largest event taken, in bytes of its JSON. 1 MiB by default. */
  maxBytes?: number | undefined;
  /** The most events of a batch. 1000 by default. */
  maxBatch?: number | undefined;
  /** How long a call may take, in milliseconds. While Redis cannot be reached, or says that it cannot do it yet, the call tries again until then. 5000 by default. */
  timeout?: number | undefined;
  /** The most events that may be on their way at once, in all calls together: while Redis is away they add up, and those over it get a BusyError at once. 10,000 by default, or maxBatch if that is more. */
  maxWaiting?: number | undefined;
  /** Decides instead of the schemas which events are sent, for those who have types of their own: it throws, at once, what the event is refused with. */
  check?: ((event: any) => void) | undefined;
  /** Durable events are written to a stream in Redis, one for each channel, which the bus reads: they are delivered even if no replica of the bus is there when they are published. By default they go by PUBLISH, which reaches those who listen at that moment. */
  durable?: boolean | undefined;
  /** It and the name of a channel make the name of its stream. "eventbus:in:" by default. */
  prefix?: string | undefined;
  /** About how many events a stream keeps: the oldest go first, whether the bus has read them or not. 100,000 by default. */
  maxLen?: number | undefined;
  /** How many replicas of Redis must have a durable event before a call ends without an error, so that a failover does not lose it. Not with a Cluster. Its WAIT keeps the client's connection busy: give the publisher a client of its own. 0 by default: the master alone is enough. */
  replicas?: number | undefined;
  /** The metadata.source of what the publisher's createEvent makes. */
  source?: string | undefined;
}

export interface PublishOptions {
  /** Instead of the default channel of the event's type. */
  channel?: string | undefined;
  /** Ends the call early, with a PublishAbortedError. */
  signal?: AbortSignal | undefined;
}

/** What became of one event of a batch. */
export type PublishResult =
  | { readonly ok: true; readonly id: string; readonly channel: string }
  | { readonly ok: false; readonly id: string | undefined; readonly channel: string | undefined; readonly error: Error };

/** An event and the channel it is published on; without one, the default channel of its type. */
export interface ChannelEvent {
  event: BusEvent;
  channel?: string | undefined;
}

/** Metadata of which the publisher fills in what is left out. */
export type NewMetadata = Partial<EventMetadata>;

/**
 * Publishes events. After an error an event may or may not have been sent; sending it again is safe, because the bus
 * delivers an id once on a channel, within 24 hours.
 */
export class Publisher {
  /** Throws a TypeError that names everything wrong with the client or the options. */
  constructor(client: RedisClient, options?: PublisherOptions);

  /** How many events are on their way: of calls that have not ended, and what the Redis client still holds of others. */
  readonly waiting: number;

  /** Like the function createEvent, with the publisher's source. */
  createEvent<T extends EventType>(type: T, data: EventDataByType[T], metadata?: NewMetadata): Event<T>;

  /**
   * Publishes an event on the default channel of its type, or another one. Rejects with an EventInvalidError or
   * EventTooLargeError before anything is sent; sending those again does not help. What is published on a channel, in
   * whatever calls, is sent in the order of the calls.
   */
  publish<T extends EventType>(event: Event<T>, options?: PublishOptions): Promise<void>;

  /** Publishes an event on a channel. */
  publishTo<T extends EventType>(channel: string, event: Event<T>, options?: Omit<PublishOptions, "channel">): Promise<void>;

  /**
   * Publishes events, and resolves with what became of each, in their order. One that is refused before it is sent does
   * not stop the others. Those of a channel are accepted together or not at all, in a transaction (MULTI and EXEC, which
   * the user of Redis must be allowed to call) for every 4 MiB or so; after one that fails the later events of that
   * channel are not sent. Of a batch larger than maxBatch nothing is published.
   */
  publishBatch(events: ReadonlyArray<BusEvent>, options?: PublishOptions): Promise<PublishResult[]>;

  /** Like publishBatch, each event on a channel of its own. */
  publishAll(batch: ReadonlyArray<ChannelEvent>, options?: Omit<PublishOptions, "channel">): Promise<PublishResult[]>;

  /**
   * Takes no more events, and waits for those on their way, at most timeout milliseconds (the publisher's own by
   * default); what is left then gets a ClosedError. Resolves with how many those are. The Redis client stays open.
   */
  close(options?: { timeout?: number | undefined }): Promise<number>;
}

/** Makes an event that happens now: its id is a UUIDv7, metadata.version "1.0" unless given. Whether it fits its schema, publishing says, or validate. */
export function createEvent<T extends EventType>(type: T, data: EventDataByType[T], metadata: NewMetadata & Pick<EventMetadata, "source">): Event<T>;

/** The default channel of an event type; undefined if it is none of the photo platform. */
export function channelOf(type: EventType): string;
export function channelOf(type: string): string | undefined;

/** Throws an EventInvalidError or EventTooLargeError if an event would not be sent. */
export function validate(event: unknown): void;

/** The base of the errors. Tell them apart by code, or by class. */
export class PublishError extends Error {
  readonly code: string;
  readonly eventId: string | undefined;
  readonly channel: string | undefined;
  readonly cause?: unknown;
}

/** What is wrong with one field of an event. */
export interface FieldProblem {
  /** Such as "data.photoId"; empty for the whole event. */
  field: string;
  /** What would be right, such as "missing, want string". */
  message: string;
}

/** The event breaks its schema, or cannot be an event of the bus. It was not sent. */
export class EventInvalidError extends PublishError {
  readonly code: "EVENT_INVALID";
  readonly problems: FieldProblem[];
}

/** The event's JSON is longer than maxBytes. It was not sent. */
export class EventTooLargeError extends PublishError {
  readonly code: "EVENT_TOO_LARGE";
  readonly size: number;
  readonly limit: number;
}

/** The batch has more than maxBatch events. None was sent. */
export class BatchTooLargeError extends PublishError {
  readonly code: "BATCH_TOO_LARGE";
  readonly size: number;
  readonly limit: number;
}

/** More than maxWaiting events would wait. It was not sent. */
export class BusyError extends PublishError {
  readonly code: "BUSY";
  readonly limit: number;
}

/** Redis did not confirm the event within timeout; cause, if there is one, says what went wrong last. It may have been sent, or be still on its way. */
export class PublishTimeoutError extends PublishError {
  readonly code: "TIMEOUT";
}

/** The signal was aborted; cause is its reason. Its name is AbortError. The event may have been sent. */
export class PublishAbortedError extends PublishError {
  readonly code: "ABORT_ERR";
}

/** The master of Redis has the event, but too few replicas confirmed it in time. */
export class NotReplicatedError extends PublishError {
  readonly code: "NOT_REPLICATED";
  readonly replicas: number;
  readonly wanted: number;
}

/** Not sent, because it would have been before an earlier event of its batch and channel, which failed. */
export class NotSentError extends PublishError {
  readonly code: "NOT_SENT";
}

/** Redis answered that it will not do it, such as NOPERM or OOM; cause is its answer. */
export class RefusedError extends PublishError {
  readonly code: "REFUSED";
}

/** The publisher, or its Redis client, is closed. */
export class ClosedError extends PublishError {
  readonly code: "CLOSED";
}
