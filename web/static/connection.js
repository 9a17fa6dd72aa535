// The Socket.IO side of the page: one connection, its identity, its subscriptions, and what became of it.
/* global io */

const heartbeatEvery = 5_000; // ms
const historySize = 50; // events of a photo from before
const maxShown = 1000;
const path = new URL("socket.io/", document.baseURI).pathname;

/** What to tell somebody about the server's refusals. */
const refusals = {
  "Authentication required": "The server wants an access token. Paste one and connect.",
  "Invalid token": "The server does not accept this token; perhaps it has expired. Get a new one with “eventbus token”, paste it and connect.",
  "Authentication failed": "The server could not check the token just now, which is no fault of yours. Try again in a moment.",
};

const random = (n) => Array.from(crypto.getRandomValues(new Uint8Array(n)), (b) => b.toString(16).padStart(2, "0")).join("");

/**
 * Connection connects with a token and tells `on` what happens:
 *   state(name, label)       idle, connecting, connected, reconnecting or failed
 *   facts({transport, socketId, recovered, latency})  the ones that changed
 *   notice(text, tone)       something to tell the user; tone is info, good, warn or bad
 *   event(name, event, note) an Event of the bus; note is "filled in" for one that was missed, "earlier" for one from before
 *   reply(name, payload)     any other event of the server
 *   mark(name, note)         for the log: the connection came or went
 *   rooms(rooms)             the photo ids subscribed to, a Set
 */
export class Connection {
  clientId = `tab-${random(6)}`;
  sessionId = sessionStorage.getItem("eventbus.session") ?? `session-${random(6)}`;
  photos = new Set();
  #on;
  #socket;
  #lostAt; // when the connection was lost, undefined while there is one
  #backAt = 0; // when it last came back
  #filledIn = 0;
  #shown = new Set(); // ids of events, oldest first
  #pinged; // when the heartbeat under way was sent
  #timers = [];

  constructor(on) {
    this.#on = on;
    sessionStorage.setItem("eventbus.session", this.sessionId);
  }

  get connected() {
    return this.#socket?.connected === true;
  }

  open(token) {
    this.close();
    // Longer than the default before the first attempt, so that a dropped connection is away long enough to miss something.
    const socket = io(location.origin, { path, auth: { token }, forceNew: true, reconnectionDelay: 1500, reconnectionDelayMax: 5000 });
    this.#socket = socket;
    this.#on.state("connecting", "Connecting…");
    socket.on("connect", () => this.#connected());
    socket.on("disconnect", (reason) => this.#disconnected(reason));
    socket.on("connect_error", (error) => this.#refused(error));
    // The last argument of a recoverable event is its offset, which the client library keeps; it is not ours.
    for (const name of ["upload.event", "processing.event", "completion.event"]) {
      socket.on(name, (event) => this.#received(name, event));
    }
    for (const name of ["identified", "subscribed", "unsubscribed", "error"]) {
      socket.on(name, (payload) => this.#on.reply(name, payload));
    }
    socket.on("error", (payload) => this.#on.notice(this.#explain(payload), "bad"));
    socket.on("heartbeat", () => {
      if (this.#pinged !== undefined) this.#on.facts({ latency: performance.now() - this.#pinged });
      this.#pinged = undefined;
    });
    this.#timers.push(setInterval(() => this.#ping(), heartbeatEvery));
  }

  close() {
    this.#timers.forEach(clearTimeout); // also ends intervals
    this.#timers = [];
    this.#lostAt = undefined;
    this.#socket?.disconnect();
    this.#socket = undefined;
    this.#on.state("idle", "Not connected");
  }

  /** drop cuts the transport and leaves the rest to the client library, as a lost network would. */
  drop() {
    this.#socket?.io.engine.close();
  }

  subscribe(photoId) {
    this.photos.add(photoId);
    this.#on.rooms(this.photos);
    this.#socket.emit("subscribe:photo", { photoId, history: historySize }, (answer) => {
      if (answer?.ok !== false) {
        // What happened to the photo before, in order; what comes from here on comes by itself.
        for (const { event, args } of answer?.history ?? []) this.#show(event, args[0], "earlier");
        return;
      }
      this.photos.delete(photoId);
      this.#on.rooms(this.photos);
    });
  }

  unsubscribe(photoId) {
    this.photos.delete(photoId);
    this.#on.rooms(this.photos);
    this.#socket.emit("unsubscribe:photo", { photoId });
  }

  #connected() {
    const { id, recovered, io } = this.#socket;
    const away = this.#lostAt === undefined ? undefined : `${((Date.now() - this.#lostAt) / 1000).toFixed(1)} s`;
    this.#lostAt = undefined;
    this.#backAt = Date.now();
    this.#on.state("connected", "Connected");
    this.#on.facts({ socketId: id, recovered: recovered ? "recovered" : "new", transport: io.engine.transport.name });
    io.engine.on("upgrade", (transport) => {
      this.#on.facts({ transport: transport.name });
      this.#ping();
    });
    if (!recovered) {
      // A new session knows nothing of us: say who we are and what we want to hear. A recovered one remembers.
      this.#socket.emit("identify", { clientId: this.clientId, sessionId: this.sessionId, userAgent: navigator.userAgent.slice(0, 200) });
      for (const photoId of this.photos) this.subscribe(photoId);
    }
    if (away === undefined) {
      this.#on.mark("connected", "a new session");
      this.#on.notice("", "info");
    } else if (recovered) {
      this.#on.mark("back", `after ${away}, session recovered`);
      this.#tellFilledIn();
    } else {
      this.#on.mark("back", `after ${away}, as a new session`);
      this.#on.notice(`Back after ${away} with a new session: what happened meanwhile could not be filled in.`, "warn");
    }
    this.#ping();
  }

  #disconnected(reason) {
    this.#pinged = undefined;
    this.#on.facts({ latency: undefined });
    if (!this.#socket.active) {
      this.#on.state("idle", "Not connected");
      this.#on.mark("disconnected", reason);
      if (reason === "io server disconnect") this.#on.notice("The server ended this session. Connect again to go on.", "warn");
      return;
    }
    this.#lostAt = Date.now();
    this.#filledIn = 0;
    this.#on.state("reconnecting", "Reconnecting…");
    this.#on.mark("connection lost", reason);
    this.#on.notice("Connection lost. Coming back…", "warn");
  }

  #refused(error) {
    const socket = this.#socket;
    if (socket.active) { // the network's fault: the library tries again by itself
      this.#on.state("reconnecting", "Reconnecting…");
      this.#on.notice("The server cannot be reached. Trying again…", "warn");
      return;
    }
    const wait = error.data?.retryAfter;
    if (error.message === "Rate limit exceeded" && wait >= 0) {
      this.#on.state("reconnecting", "Waiting…");
      this.#on.notice(`Too many connections from here. Trying again in ${Math.ceil(wait)} s.`, "warn");
      this.#timers.push(setTimeout(() => socket.connect(), 1000 * Math.ceil(wait)));
      return;
    }
    this.#on.state("failed", "Refused");
    this.#on.notice(refusals[error.message] ?? `The server refused the connection: ${error.message}`, "bad");
  }

  #received(name, event) {
    // What was missed arrives first, some of it even before the library says that it is connected.
    const away = this.#lostAt !== undefined;
    const filledIn = this.#socket.recovered && (away || Date.parse(event?.timestamp) < this.#backAt);
    if (filledIn) this.#filledIn++;
    this.#show(name, event, filledIn ? "filled in" : undefined);
    if (filledIn && !away) this.#tellFilledIn();
  }

  /** show passes an event on, once: the history of a photo may have what came by another room. */
  #show(name, event, note) {
    if (this.#shown.has(event?.id)) return;
    this.#shown.add(event?.id);
    if (this.#shown.size > maxShown) this.#shown.delete(this.#shown.values().next().value);
    this.#on.event(name, event, note);
  }

  #tellFilledIn() {
    const n = this.#filledIn;
    const what = n === 0 ? "nothing was missed" : n === 1 ? "the one missed event was filled in" : `the ${n} missed events were filled in`;
    this.#on.notice(`Back, and ${what}.`, "good");
  }

  #explain(payload) {
    return payload?.message === "Access denied"
      ? "Access denied: this token may not see that photo."
      : `The server says: ${payload?.message ?? "something went wrong"}`;
  }

  #ping() {
    if (!this.connected || this.#pinged !== undefined) return;
    this.#pinged = performance.now();
    this.#socket.emit("heartbeat");
  }
}
