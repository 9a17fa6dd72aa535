// Placeholder pictures: a small landscape for each photo id, always the same one for the same id.
import { svg } from "./dom.js";

const palettes = [
  { sky: ["#2b3a67", "#f6a38f"], sun: "#ffe9c7", hills: ["#77719f", "#4b4f80", "#283056"] },
  { sky: ["#5aa9e6", "#e3f3fb"], sun: "#fffbe6", hills: ["#93b8cc", "#5f909f", "#315c66"] },
  { sky: ["#47326b", "#f08a7b"], sun: "#ffd9a0", hills: ["#8a5b8c", "#5a3d76", "#332450"] },
  { sky: ["#8fc9c0", "#f3f0d6"], sun: "#ffffff", hills: ["#84b59f", "#4d8873", "#265548"] },
  { sky: ["#f0a85c", "#fbe7c2"], sun: "#fff8e6", hills: ["#dd915f", "#b8623f", "#78392a"] },
];

let made = 0; // gradient ids have to be unique in the page

export function landscape(photoId) {
  const random = seeded(photoId);
  const { sky, sun, hills } = palettes[Math.floor(random() * palettes.length)];
  const gradient = `sky-${++made}`;
  return svg("svg", { viewBox: "0 0 300 200", preserveAspectRatio: "xMidYMid slice", class: "art", "aria-hidden": "true" },
    svg("linearGradient", { id: gradient, x1: 0, y1: 0, x2: 0, y2: 1 },
      svg("stop", { offset: 0, "stop-color": sky[0] }),
      svg("stop", { offset: 0.8, "stop-color": sky[1] })),
    svg("rect", { width: 300, height: 200, fill: `url(#${gradient})` }),
    svg("circle", { cx: 60 + random() * 180, cy: 55 + random() * 35, r: 15 + random() * 9, fill: sun }),
    svg("path", { d: peaks(random, 88, 40), fill: hills[0] }),
    svg("path", { d: peaks(random, 122, 30), fill: hills[1] }),
    svg("rect", { y: 158, width: 300, height: 42, fill: sky[1], opacity: 0.55 }), // the lake
    svg("rect", { y: 158, width: 300, height: 42, fill: hills[2], opacity: 0.35 }),
    svg("path", { d: shore(random), fill: hills[2] }));
}

/** peaks draws a chain of mountains around height y. */
function peaks(random, y, height) {
  let d = "M-10 200";
  for (let x = -10, up = random() < 0.5; x < 340; x += 16 + random() * 30, up = !up) {
    d += `L${x.toFixed(1)} ${(y + (up ? -1 : 0.6) * height * (0.25 + random() * 0.75)).toFixed(1)}`;
  }
  return d + "L340 200Z";
}

/** shore draws the near side of the lake, rising to one side. */
function shore(random) {
  const left = random() < 0.5;
  const high = 132 + random() * 18, low = 184 + random() * 8;
  return `M0 200V${left ? high : low}C${left ? "70 " + (high + 18) : "110 " + low} ${left ? "150 " + low : "220 " + (high + 24)} 300 ${left ? low : high}V200Z`;
}

/** seeded is a random number generator (mulberry32) started from the FNV-1a hash of a string. */
function seeded(string) {
  let a = 0x811c9dc5;
  for (let i = 0; i < string.length; i++) a = Math.imul(a ^ string.charCodeAt(i), 0x01000193);
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
