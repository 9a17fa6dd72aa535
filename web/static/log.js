// The event log: newest first, never more than 200 entries.
import { $, el, number, text } from "./dom.js";

const maxEntries = 200;
const maxJSON = 20_000; // characters shown of one payload
let total = 0;

/**
 * record adds an entry for a Socket.IO event and its payload.
 * options.kind is "event" (an Event of the bus), "reply" (an answer of the server) or "mark" (something of this page);
 * options.note says what is special about it, in a word or two.
 */
export function record(name, payload, { kind = "event", note } = {}) {
  const line = [
    el("time", {}, clock(payload?.timestamp)),
    el("span", { class: "name" }, name),
    el("span", { class: "what" }, ...describe(kind, payload)),
  ];
  if (note) line.push(el("span", { class: "tag" }, note));

  const entry = el("li", { "data-kind": kind, "data-event": name },
    kind === "mark" ? el("div", { class: "line" }, ...line) : unfolding(name, payload, line));
  if (kind === "event") {
    entry.dataset.type = text(payload?.type);
    entry.dataset.id = text(payload?.id);
    total++;
  }
  $("log").prepend(entry);
  while ($("log").children.length > maxEntries) $("log").lastChild.remove();
  count();
}

function unfolding(name, payload, line) {
  const details = el("details", {}, el("summary", { class: "line" }, ...line));
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) {
      const json = text(JSON.stringify(payload, null, 2), maxJSON);
      details.append(el("pre", { tabindex: 0, "aria-label": `${name} as JSON` }, json));
    }
  });
  return details;
}

export function clear() {
  $("log").replaceChildren();
  total = 0;
  count();
}

function count() {
  $("log-count").textContent = total === 0 ? "" : `${total} received`;
}

function describe(kind, payload) {
  if (kind === "mark") return [text(payload.note)];
  if (kind === "reply") return [text(payload?.room ?? payload?.message ?? payload?.socketId)];
  const data = payload?.data;
  const about = [text(data?.photoId, 40)];
  if (data?.stage) about.push(text(data.stage, 30));
  if (number(data?.progress) !== undefined) about.push(`${Math.round(data.progress)} %`);
  return [el("b", {}, text(payload?.type, 60)), " ", el("span", { class: "about" }, about.filter(Boolean).join(" · "))];
}

function clock(timestamp) {
  const at = new Date(timestamp ?? Date.now());
  const date = Number.isNaN(at.getTime()) ? new Date() : at;
  return date.toTimeString().slice(0, 8) + "." + String(date.getMilliseconds()).padStart(3, "0");
}
