// The page: its fields and buttons, and what the connection says.
import { Connection } from "./connection.js";
import { $, text } from "./dom.js";
import * as log from "./log.js";
import { show } from "./photos.js";

let dev = false;
let running = false;

const connection = new Connection({
  state(name, label) {
    $("state").dataset.state = name;
    $("state-text").textContent = label;
    const open = name !== "idle" && name !== "failed";
    const focused = document.activeElement;
    $("connect-form").hidden = open;
    $("facts").hidden = $("disconnect").hidden = !open;
    document.body.classList.toggle("open", open);
    if (open && $("connect-form").contains(focused)) $("disconnect").focus(); // what had the focus is gone
    if (!open && focused === $("disconnect")) $("connect").focus();
    buttons();
  },
  facts(facts) {
    if ("transport" in facts) $("transport").textContent = facts.transport;
    if ("socketId" in facts) $("socket-id").textContent = facts.socketId;
    if ("recovered" in facts) $("recovered").textContent = facts.recovered;
    if ("latency" in facts) $("latency").textContent = facts.latency === undefined ? "–" : `${facts.latency.toFixed(1)} ms`;
  },
  notice,
  event(name, event, note) {
    log.record(name, event, { note });
    show(event);
  },
  reply: (name, payload) => log.record(name, payload, { kind: "reply" }),
  mark: (name, note) => log.record(name, { note }, { kind: "mark" }),
  rooms() {
    rooms();
    buttons();
  },
});

function notice(message, tone) {
  $("notice").textContent = message;
  $("notice").dataset.tone = tone;
}

function buttons() {
  const photoId = $("photo-id").value.trim();
  const ready = connection.connected && photoId !== "";
  $("subscribe").textContent = connection.photos.has(photoId) ? "Unsubscribe" : "Subscribe";
  $("subscribe").disabled = !ready;
  $("publish").disabled = !ready || running;
  $("publish").textContent = running ? "Publishing…" : "Publish a photo run";
  $("drop").disabled = !connection.connected;
  $("empty-text").textContent = !connection.connected ? "Connect to see photos arrive."
    : dev ? "Subscribe to a photo, publish a run, and watch it arrive."
    : connection.photos.size === 0 ? "Subscribe to a photo to see what happens to it."
    : "Waiting for the first event.";
}

function rooms() {
  $("rooms").replaceChildren(...[...connection.photos].map((photoId) => {
    const item = document.createElement("li");
    item.textContent = `photo:${text(photoId, 40)}`;
    return item;
  }));
}

/** userOf reads whose token it is, only to show it and to publish in that name. The server is who checks. */
function userOf(token) {
  try {
    const payload = token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
    const claims = JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(payload), (c) => c.charCodeAt(0))));
    return text(claims.userId ?? claims.sub);
  } catch {
    return "";
  }
}

async function publish() {
  const photoId = $("photo-id").value.trim();
  notice("", "info");
  if (!connection.photos.has(photoId)) connection.subscribe(photoId);
  running = true;
  buttons();
  try {
    const token = $("token").value.trim();
    const answer = await fetch("demo/run", {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${token}` },
      body: JSON.stringify({
        photoId,
        userId: userOf(token) || "demo-user",
        clientId: connection.clientId,
        sessionId: connection.sessionId,
        fail: $("fail").checked,
      }),
    });
    const told = await answer.json();
    if (!answer.ok) notice(told.detail ?? "The run was not published.", "bad");
  } catch {
    notice("The run broke off: the server cannot be reached.", "bad");
  } finally {
    running = false;
    buttons();
  }
}

$("connect-form").addEventListener("submit", (e) => {
  e.preventDefault();
  const token = $("token").value.trim();
  sessionStorage.setItem("eventbus.token", token);
  $("user").textContent = userOf(token) || "–";
  connection.open(token);
});
$("photo-form").addEventListener("submit", (e) => {
  e.preventDefault();
  notice("", "info");
  const photoId = $("photo-id").value.trim();
  if (connection.photos.has(photoId)) connection.unsubscribe(photoId);
  else connection.subscribe(photoId);
});
$("photo-id").addEventListener("input", buttons);
$("publish").addEventListener("click", publish);
$("drop").addEventListener("click", () => connection.drop());
$("disconnect").addEventListener("click", () => connection.close());
$("clear").addEventListener("click", log.clear);

// The token comes in the fragment, which browsers keep to themselves, and does not stay in the address bar.
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) history.replaceState(null, "", location.pathname + location.search);
$("token").value = given ?? sessionStorage.getItem("eventbus.token") ?? "";

fetch("demo/config").then((answer) => answer.json()).then((config) => {
  dev = config.dev === true;
  $("demo").hidden = !dev;
  buttons();
}).catch(() => notice("The server cannot be reached.", "bad"));

if ($("token").value !== "") $("connect-form").requestSubmit();
