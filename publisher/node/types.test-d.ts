// A publisher as its author would write it. It is compiled, as an ES module and as CommonJS, not run. What is below a
// "@ts-expect-error" is a mistake that must not compile: tsc complains if it does.
import { Cluster, Redis } from "ioredis";
import { createClient } from "redis";
import { createClient as createClient4 } from "redis-4";
import { createClient as createClient5 } from "redis-5";
import {
  BusyError, channelOf, createEvent, EventInvalidError, Publisher, validate,
  type BusEvent, type Event, type EventType, type PhotoDeletedData, type PublisherOptions, type PublishResult, type ServerToClientEvents,
} from "@photo-management/event-bus";
import type { EventMetadata } from "@photo-management/event-bus/events";

declare module "@photo-management/event-bus/events" {
  interface EventDataByType {
    "photo.printed": { photoId: string; copies: number };
  }
}

export async function clients(): Promise<Publisher[]> {
  const client = createClient({ url: "redis://localhost" });
  await client.connect();
  // @ts-expect-error the client is missing
  new Publisher();
  // @ts-expect-error no client
  new Publisher("redis://localhost");
  // @ts-expect-error no such option
  new Publisher(client, { durabel: true });
  // @ts-expect-error milliseconds
  new Publisher(client, { timeout: "5s" });
  const options: PublisherOptions = {
    maxBytes: 1000, maxBatch: 10, timeout: 1000, maxWaiting: 100, durable: true, prefix: "in:", maxLen: 1000, replicas: 1, source: "s",
    check: (event) => validate(event),
  };
  return [
    new Publisher(new Redis()), new Publisher(new Redis(), {}), new Publisher(new Cluster(["redis://localhost"]), { durable: true }),
    new Publisher(client, options), new Publisher(createClient4()), new Publisher(createClient5()),
  ];
}

export async function publish(publisher: Publisher, any: BusEvent, signal: AbortSignal): Promise<void> {
  const deleted: Event<"photo.deleted"> = createEvent("photo.deleted", { photoId: "p" }, { source: "s", traceparent: "00-…" });
  const data: PhotoDeletedData = deleted.data;
  const metadata: EventMetadata = deleted.metadata;
  console.log(data.photoId, metadata.version);
  // @ts-expect-error the source is missing
  createEvent("photo.deleted", { photoId: "p" });
  // @ts-expect-error photoId is missing
  createEvent("photo.deleted", {}, { source: "s" });
  // @ts-expect-error no such type
  createEvent("photo.lost", { photoId: "p" }, { source: "s" });
  // @ts-expect-error a number
  publisher.createEvent("photo.printed", { photoId: "p", copies: "two" });
  const printed = publisher.createEvent("photo.printed", { photoId: "p", copies: 2 }, { clientId: "c" });

  await publisher.publish(deleted);
  await publisher.publish(any, { channel: "elsewhere", signal });
  await publisher.publishTo("prints", printed, { signal });
  await publisher.publish({ id: "1", type: "photo.deleted", data: { photoId: "p" }, metadata: { source: "s", version: "1.0" }, timestamp: "2026-01-31T12:00:00Z" });
  // @ts-expect-error data of another type
  await publisher.publish({ ...deleted, data: { batchId: "b" } });
  // @ts-expect-error it says where already
  await publisher.publishTo("prints", printed, { channel: "elsewhere" });

  const results: PublishResult[] = await publisher.publishBatch([deleted, any, printed]);
  for (const result of results) {
    if (result.ok) {
      const id: string = result.id;
      console.log(id, result.channel);
      // @ts-expect-error there is none
      console.log(result.error);
    } else if (result.error instanceof EventInvalidError) {
      for (const { field, message } of result.error.problems) console.log(field, message);
    } else if (result.error instanceof BusyError) {
      const code: "BUSY" = result.error.code;
      console.log(code, result.error.limit);
    }
  }
  // @ts-expect-error no event of the bus
  await publisher.publishBatch([{ type: "photo.deleted" }]);
  await publisher.publishAll([{ event: deleted }, { event: printed, channel: "prints" }], { signal });

  const channel: string = channelOf("photo.deleted");
  const perhaps: string | undefined = channelOf("photo" as string);
  // @ts-expect-error it may be unknown
  const certainly: string = channelOf("photo" as string);
  const left: number = await publisher.close({ timeout: 1000 });
  console.log(channel, perhaps, certainly, left, publisher.waiting);
  // @ts-expect-error only read
  publisher.waiting = 0;
}

export function generic<T extends EventType>(publisher: Publisher, event: Event<T>): Promise<void> {
  return publisher.publish(event);
}

export const heard: keyof ServerToClientEvents = "upload.event";
