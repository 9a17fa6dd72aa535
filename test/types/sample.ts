// A front-end as its author would write it. It is compiled, not run. Each @ts-expect-error is a mistake that must not
// compile: tsc complains if it does.
import { io, type Socket } from "socket.io-client";
import type {
  Acknowledged, BusEvent, ClientToServerEvents, Event, EventMetadata, EventType, Failure, HeartbeatAnswer, HistoryEntry,
  IdentifyAnswer, PhotoAnswer, PhotoProcessingCompletedEvent, PhotoUploadedData, RoomAnswer, ServerToClientEvents,
} from "../../publisher/node/events.js";

const socket: Socket<ServerToClientEvents, ClientToServerEvents> = io("http://localhost:3003", { auth: { token: "t" } });

// What the service sends.
socket.on("upload.event", (event, offset) => {
  const at: string | undefined = offset;
  if (event.type === "photo.uploaded") {
    const size: number = event.data.size;
    const user: string = event.data.userId;
    console.log(at, size, user);
    // @ts-expect-error no such field
    console.log(event.data.reason);
  } else {
    const why: string | undefined = event.data.reason;
    const type: "photo.deleted" = event.type;
    console.log(why, type);
  }
  // @ts-expect-error another channel's type
  if (event.type === "photo.processing.failed") return;
});
socket.on("processing.event", (event) => {
  if (event.type === "photo.processing.stage.completed") {
    const progress: number = event.data.progress;
    const next: string | undefined = event.data.nextStage;
    console.log(progress, next, event.data.result);
    // @ts-expect-error of any shape: it must be looked at first
    console.log(event.data.result.url);
    // @ts-expect-error it may be absent
    const always: string = event.data.nextStage;
    console.log(always);
  } else {
    const stages: string[] = event.data.stages;
    console.log(stages);
  }
});
socket.on("completion.event", (event) => {
  switch (event.type) {
    case "photo.processing.completed": {
      const width: number | undefined = event.data.results.thumbnails[0]?.dimensions.width;
      return console.log(width, event.data.results.metadata.exif, event.data.results.optimization.compressionRatio);
    }
    case "photo.processing.failed":
      return console.log(event.data.error.code, event.data.retryable);
    case "batch.processing.completed":
      return console.log(event.data.batchId, event.data.photoIds?.length);
    default: {
      const none: never = event;
      return none;
    }
  }
});
socket.on("identified", ({ socketId, timestamp }) => console.log(socketId.length, Date.parse(timestamp)));
socket.on("subscribed", ({ room }) => console.log(room.length));
socket.on("unsubscribed", ({ room }) => console.log(room.length));
socket.on("heartbeat", ({ timestamp }) => console.log(timestamp.toFixed()));
socket.on("error", ({ message, event }) => console.log(message, event?.length));
socket.on("connect_error", (err) => console.log(err.message));
// @ts-expect-error no such event
socket.on("uploaded.event", () => {});
// @ts-expect-error the service's time is a number
socket.on("heartbeat", ({ timestamp }) => timestamp.length);

// What the front-end sends.
socket.emit("identify", { clientId: "tab-1" });
socket.emit("identify", { clientId: "tab-1", sessionId: "s", userAgent: navigator.userAgent }, (answer) => {
  if (answer.ok) console.log(answer.socketId.length);
  else console.log(answer.error.length);
  // @ts-expect-error there is none unless ok
  console.log(answer.socketId);
});
socket.emit("subscribe:photo", { photoId: "p" });
socket.emit("subscribe:photo", { photoId: "p", history: 10 }, (answer) => {
  if (!answer.ok) return console.log(answer.error);
  for (const { event, args, offset } of answer.history ?? []) {
    const first = args[0] as BusEvent;
    console.log(event.length, first.id, offset?.length);
  }
});
socket.emit("unsubscribe:photo", { photoId: "p" }, (answer) => console.log(answer.ok && answer.room));
socket.emit("subscribe:user", { userId: "u" }, (answer) => console.log(answer.ok && answer.room));
socket.emit("unsubscribe:user", { userId: "u" });
socket.emit("heartbeat");
socket.emit("heartbeat", (answer) => console.log(answer.ok && answer.timestamp.toFixed()));
// @ts-expect-error no such event
socket.emit("subscribe", { photoId: "p" });
// @ts-expect-error what the service sends is not for us to send
socket.emit("upload.event", {});
// @ts-expect-error no payload
socket.emit("subscribe:photo");
// @ts-expect-error not an object
socket.emit("subscribe:photo", "p");
// @ts-expect-error another field's name
socket.emit("subscribe:photo", { userId: "p" });
// @ts-expect-error a user has no history
socket.emit("subscribe:user", { userId: "u", history: 5 });
// @ts-expect-error not a number
socket.emit("subscribe:photo", { photoId: "p", history: "10" });
// @ts-expect-error an id is needed
socket.emit("identify", { sessionId: "s" });
// @ts-expect-error the answer has no such field
socket.emit("heartbeat", (answer: { ok: true; time: number }) => console.log(answer));

// Acknowledgements as promises.
async function acknowledged(): Promise<void> {
  const loose: PhotoAnswer | Failure = await socket.emitWithAck("subscribe:photo", { photoId: "p" });
  console.log(loose);

  const strict: Socket<ServerToClientEvents, Acknowledged<ClientToServerEvents>> = io();
  const identified: IdentifyAnswer | Failure = await strict.emitWithAck("identify", { clientId: "c" });
  const photo = await strict.timeout(1000).emitWithAck("subscribe:photo", { photoId: "p", history: 3 });
  const entries: HistoryEntry[] | undefined = photo.ok ? photo.history : [];
  const room: RoomAnswer | Failure = await strict.emitWithAck("subscribe:user", { userId: "u" });
  const beat: HeartbeatAnswer | Failure = await strict.emitWithAck("heartbeat");
  strict.timeout(1000).emit("unsubscribe:user", { userId: "u" }, (err, answer) => console.log(err.message, answer.ok));
  // @ts-expect-error the answer is no text
  const text: string = await strict.emitWithAck("heartbeat");
  // @ts-expect-error another field's name
  await strict.emitWithAck("subscribe:photo", { userId: "p" });
  console.log(identified, entries, room, beat, text);
}
void acknowledged();

// What a publisher writes.
const metadata: EventMetadata = { source: "upload", version: "1.0", clientId: "c" };
const data: PhotoUploadedData = { photoId: "p", userId: "u", filename: "f.jpg", size: 1, mimeType: "image/jpeg" };
const uploaded: Event<"photo.uploaded"> = { id: "e", type: "photo.uploaded", data, metadata, timestamp: new Date().toISOString() };
const any: BusEvent = uploaded;
const type: EventType = any.type;
// @ts-expect-error no such type
const unknown: EventType = "photo.printed";
// @ts-expect-error the data of another type
const wrong: Event<"photo.deleted"> = { ...uploaded, type: "photo.deleted", data: { batchId: "b" } };
// @ts-expect-error a field is missing
const missing: PhotoUploadedData = { photoId: "p", userId: "u", filename: "f.jpg", size: 1 };
// @ts-expect-error a text for a number
const text: PhotoUploadedData = { ...data, size: "1" };
// @ts-expect-error metadata says where the event comes from
const nowhere: EventMetadata = { version: "1.0" };
const completed: PhotoProcessingCompletedEvent["data"]["results"]["metadata"] = {
  dimensions: { width: 1, height: 2 }, format: "jpeg", colorSpace: "sRGB", exif: { iso: 100 },
};
console.log(type, unknown, wrong, missing, text, nowhere, completed);

// Types and events of one's own.
declare module "../../publisher/node/events.js" {
  interface EventDataByType {
    "photo.liked": { photoId: string; likes: number };
  }
  interface ServerToClientEvents {
    "like.event": (event: Event<"photo.liked">, offset?: string) => void;
  }
}
socket.on("like.event", (event) => console.log(event.data.likes.toFixed()));
const liked: BusEvent = { id: "e", type: "photo.liked", data: { photoId: "p", likes: 2 }, metadata, timestamp: "t" };
console.log(liked);
