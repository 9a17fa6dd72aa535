// Starts the service that is tested, and a browser to look at it with.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const binary = process.env.EVENTBUS_BIN ?? fileURLToPath(new URL("../../bin/eventbus", import.meta.url));
const chromiumPath = process.env.CHROMIUM ?? "/usr/bin/chromium";

/** startService runs `eventbus serve --dev` on free ports and returns the demo page's address, token included. */
export async function startService() {
  const child = spawn(binary, ["serve", "--dev"], {
    env: { ...process.env, WEBSOCKET_PORT: "0", HEALTH_PORT: "0" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended = once(child, "exit");
  const log = [];
  const listening = firstMatch(child.stderr, (line) => {
    log.push(line);
    return JSON.parse(line).msg === "listening" && JSON.parse(line).websocket;
  });
  const printed = firstMatch(child.stdout, (line) => line.match(/http:\/\/127\.0\.0\.1:\d+\/#token=\S+/)?.[0]);
  const tooEarly = ended.then(([code]) => {
    throw new Error(`eventbus ended with code ${code} before it listened:\n${log.join("\n")}`);
  });
  const [address, url] = await Promise.race([Promise.all([listening, printed]), tooEarly]);
  tooEarly.catch(() => {}); // from now on it may end
  return {
    url,
    address,
    async stop() {
      child.kill("SIGTERM");
      await ended;
    },
  };
}

/** firstMatch resolves with the first true value that match makes of a line, and reads on so that the pipe never fills. */
function firstMatch(stream, match) {
  return new Promise((resolve, reject) => {
    createInterface(stream).on("line", (line) => {
      try {
        const found = match(line);
        if (found) resolve(found);
      } catch (error) {
        reject(new Error(`unexpected line ${line}`, { cause: error }));
      }
    });
  });
}

/** startBrowser opens a headless Chromium with a profile of its own. */
export async function startBrowser() {
  const profile = await mkdtemp(join(tmpdir(), "eventbus-browser-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: chromiumPath,
    headless: true,
    viewport: { width: 1280, height: 800 },
    args: [
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync",
    ],
  });
  return {
    context,
    async stop() {
      await context.close();
      await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** watch returns a list that fills with whatever goes wrong in a page: console errors, exceptions, failed requests. */
export function watch(page) {
  const troubles = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) troubles.push(`console: ${message.text()} (${message.location().url})`);
  });
  page.on("pageerror", (error) => troubles.push(`exception: ${error.message}`));
  page.on("requestfailed", (request) => troubles.push(`failed: ${request.url()} ${request.failure()?.errorText}`));
  page.on("response", (response) => {
    if (response.status() >= 400) troubles.push(`status ${response.status()}: ${response.url()}`);
  });
  return troubles;
}
