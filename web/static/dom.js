// Small helpers for building the page. Text always goes in as text: events are whatever somebody published.

export const $ = (id) => document.getElementById(id);

/** el("p", { class: "x", "aria-label": "y" }, "text", node, …) makes an element. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** svg is el for SVG elements. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** text shortens whatever an event carries to a string fit for one line. */
export function text(value, max = 120) {
  const s = typeof value === "string" ? value : value === undefined ? "" : String(JSON.stringify(value));
  return s.length > max ? s.slice(0, max) + "…" : s;
}

/** number returns value if it is a finite number, else undefined. */
export const number = (value) => (Number.isFinite(value) ? value : undefined);

export function bytes(n) {
  if (number(n) === undefined) return "";
  if (n < 1e3) return `${n} B`;
  return n < 1e6 ? `${(n / 1e3).toFixed(0)} kB` : `${(n / 1e6).toFixed(1)} MB`;
}

export const seconds = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);
