// One card for each photo, built up from the events about it.
import { landscape } from "./art.js";
import { $, bytes, el, number, seconds, text } from "./dom.js";

const maxCards = 12;
const maxStages = 20;
const maxThumbnails = 6;
const cards = new Map(); // photo id → card, oldest first

/** show applies an event of the bus to the card of its photo. */
export function show(event) {
  const data = event?.data;
  const photoId = data?.photoId;
  if (typeof photoId !== "string" || photoId === "") return;
  if (event.type === "photo.deleted") {
    cards.get(photoId)?.root.remove();
    cards.delete(photoId);
    return empty();
  }
  if (!Object.hasOwn(changes, event.type)) return;
  let card = cards.get(photoId);
  const fresh = event.type === "photo.uploaded" || (card?.jobId && data.jobId && card.jobId !== data.jobId);
  if (!card || fresh) {
    card?.root.remove();
    cards.delete(photoId);
    card = new Card(photoId);
    cards.set(photoId, card);
    $("photos").prepend(card.root);
    if (cards.size > maxCards) {
      const [oldest] = cards.keys();
      cards.get(oldest).root.remove();
      cards.delete(oldest);
    }
    empty();
  }
  card.jobId = data.jobId ?? card.jobId;
  changes[event.type](card, data);
}

function empty() {
  $("empty").hidden = cards.size > 0;
}

const changes = {
  "photo.uploaded": (card, data) => {
    card.status("uploaded", "Uploaded");
    card.about([text(data.filename, 60), bytes(data.size)]);
  },
  "photo.processing.started": (card, data) => {
    if (Array.isArray(data.stages)) data.stages.slice(0, maxStages).forEach((stage) => card.stage(stage));
    card.status("processing", "Processing");
    card.running(Array.isArray(data.stages) ? data.stages[0] : undefined);
  },
  "photo.processing.stage.completed": (card, data) => {
    card.stage(data.stage).dataset.state = "done";
    card.status("processing", "Processing");
    card.progress(data.progress);
    card.running(data.nextStage);
  },
  "photo.processing.completed": (card, data) => {
    for (const stage of card.stages.values()) stage.dataset.state = "done";
    card.status("completed", "Completed");
    card.progress(100);
    card.results(data);
  },
  "photo.processing.failed": (card, data) => {
    card.running();
    card.stage(data.stage).dataset.state = "failed";
    card.status("failed", "Failed");
    const retry = data.retryable === true ? " It can be tried again." : "";
    card.outcome(el("p", { class: "failure" }, el("b", {}, text(data.error?.code, 40)), " ",
      text(data.error?.message, 200).replace(/\.?$/, ".") + retry));
  },
};

const percentChange = (from, to) => `${Math.round(100 * (to / from - 1))} %`.replace("-", "−");
const thumbnailHeight = (i) => `${34 + i * 13}px`;

/** placeholders keep the place where thumbnails will be. */
function placeholders() {
  const row = el("div", { class: "thumbnails", "aria-hidden": "true" });
  for (let i = 0; i < 3; i++) {
    const picture = el("div", { class: "picture" });
    picture.style.height = thumbnailHeight(i);
    row.append(picture);
  }
  return row;
}

class Card {
  constructor(photoId) {
    this.photoId = photoId;
    this.stages = new Map();
    this.pill = el("span", { class: "pill", role: "status" });
    this.line = el("p", { class: "about" });
    this.bar = el("progress", { max: 100, value: 0, "aria-label": `Progress of ${text(photoId)}` });
    this.percent = el("span", { class: "percent" }, "0 %");
    this.list = el("ol", { class: "stages", "aria-label": "Stages" });
    this.result = el("div", { class: "result" }, placeholders());
    this.root = el("article", { class: "card", "aria-label": `Photo ${text(photoId)}` },
      el("div", { class: "frame" }, landscape(photoId)),
      el("div", { class: "body" },
        el("header", {}, el("h3", {}, text(photoId, 60)), this.pill),
        this.line,
        el("div", { class: "meter" }, this.bar, this.percent),
        this.list,
        this.result));
    this.root.dataset.photo = photoId;
  }

  status(state, label) {
    this.root.dataset.state = state;
    this.pill.textContent = label;
  }

  about(parts) {
    this.line.textContent = parts.filter(Boolean).join(" · ");
  }

  progress(value) {
    const percent = Math.min(100, Math.max(0, number(value) ?? this.bar.value));
    this.bar.value = percent;
    this.percent.textContent = `${Math.round(percent)} %`;
    this.root.style.setProperty("--progress", percent / 100);
  }

  /** stage returns the list item of a stage, adding it if the run did not announce it. */
  stage(name) {
    const key = text(name, 40) || "unnamed";
    let item = this.stages.get(key);
    if (!item) {
      item = el("li", {}, key);
      if (this.stages.size < maxStages) {
        this.stages.set(key, item);
        this.list.append(item);
      }
    }
    return item;
  }

  /** running marks the stage under way, or none. */
  running(name) {
    for (const item of this.stages.values()) {
      if (item.dataset.state === "running") delete item.dataset.state;
    }
    if (name !== undefined && this.stage(name).dataset.state !== "done") this.stage(name).dataset.state = "running";
  }

  results(data) {
    const { thumbnails, metadata, optimization } = data.results ?? {};
    const row = el("ul", { class: "thumbnails", "aria-label": "Thumbnails" });
    for (const [i, thumbnail] of (Array.isArray(thumbnails) ? thumbnails : []).slice(0, maxThumbnails).entries()) {
      const width = number(thumbnail?.dimensions?.width), height = number(thumbnail?.dimensions?.height);
      const picture = el("div", { class: "picture" }, landscape(this.photoId));
      picture.style.height = thumbnailHeight(i);
      picture.style.aspectRatio = width > 0 && height > 0 ? Math.min(2.5, Math.max(0.4, width / height)) : 1.5;
      row.append(el("li", {}, picture,
        el("span", {}, el("b", {}, text(thumbnail?.size, 16)), ` ${width ?? "?"} × ${height ?? "?"}`)));
    }
    const before = optimization?.originalSize, after = optimization?.optimizedSize;
    const saved = before > 0 && number(after) !== undefined ? ` (${percentChange(before, after)})` : "";
    const size = [bytes(before), bytes(after)].filter(Boolean).join(" → ") + saved;
    const dimensions = metadata?.dimensions;
    const facts = [
      dimensions ? `${number(dimensions.width) ?? "?"} × ${number(dimensions.height) ?? "?"}` : "",
      text(metadata?.format, 12).toUpperCase(),
      text(metadata?.colorSpace, 16),
      size,
      number(data.duration) === undefined ? "" : `took ${seconds(data.duration)}`,
    ];
    this.outcome(row, el("p", { class: "about" }, facts.filter(Boolean).join(" · ")));
  }

  outcome(...nodes) {
    this.result.replaceChildren(...nodes);
  }
}
