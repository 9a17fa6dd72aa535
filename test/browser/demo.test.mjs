// The demo page in a real browser, against the real service.
//   EVENTBUS_BIN  the binary, default ../../bin/eventbus
//   CHROMIUM      the browser, default /usr/bin/chromium
//   SCREENSHOT    where to write a picture of the page in the middle of a run, 1280×800
import assert from "node:assert/strict";
import { after, before, beforeEach, afterEach, test } from "node:test";
import { startBrowser, startService, watch } from "./eventbus.mjs";

const runTypes = [
  "photo.uploaded",
  "photo.processing.started",
  ...Array(5).fill("photo.processing.stage.completed"),
  "photo.processing.completed",
];
let service, browser, page, troubles;

before(async () => {
  service = await startService();
  browser = await startBrowser();
});
after(async () => {
  await browser?.stop();
  await service?.stop();
});
beforeEach(async () => {
  page = await browser.context.newPage();
  page.setDefaultTimeout(15_000);
  troubles = watch(page);
});
afterEach(() => page.close());

/** connected opens the printed address and waits for a session. */
async function connected() {
  await page.goto(service.url);
  await session();
}

/** session waits until the page is connected and done with polling, whose requests fail when they are cut short. */
async function session() {
  await page.getByRole("status").getByText("Connected", { exact: true }).waitFor();
  await page.locator("#transport", { hasText: "websocket" }).waitFor();
}

async function subscribe(photoId) {
  await page.getByLabel("Photo id").fill(photoId);
  await page.getByRole("button", { name: "Subscribe" }).click();
  await page.locator('#log [data-event="subscribed"]', { hasText: `photo:${photoId}` }).waitFor();
}

const publish = () => page.getByRole("button", { name: "Publish a photo run" }).click();
const card = (photoId) => page.getByRole("article", { name: `Photo ${photoId}` });
const stagesDone = (photoId, n) => card(photoId).locator('.stages [data-state="done"]').nth(n - 1).waitFor();

/** events lists the bus events in the log, oldest first. */
const events = () => page.locator('#log [data-kind="event"]').evaluateAll((entries) =>
  entries.map((e) => ({ name: e.dataset.event, type: e.dataset.type, id: e.dataset.id, filledIn: e.querySelector(".tag") !== null })).reverse());

test("a run arrives, from the upload to 100 %", async () => {
  await connected();
  assert.ok(service.url.startsWith(`http://${service.address}/`), `${service.url} is not at ${service.address}`);
  assert.equal(await page.evaluate(() => location.hash), "", "the token is still in the address bar");
  await subscribe("photo-42");
  await publish();

  await stagesDone("photo-42", 3);
  if (process.env.SCREENSHOT) await page.screenshot({ path: process.env.SCREENSHOT, animations: "disabled" });

  await card("photo-42").getByText("Completed", { exact: true }).waitFor();
  assert.equal(await card("photo-42").getByRole("progressbar").evaluate((bar) => bar.value), 100);
  assert.equal(await card("photo-42").locator(".thumbnails svg").count(), 3);
  const got = await events();
  assert.deepEqual(got.map((e) => e.type), runTypes);
  assert.deepEqual([...new Set(got.map((e) => e.name))], ["upload.event", "processing.event", "completion.event"]);
  assert.equal(got.some((e) => e.filledIn), false);

  await page.locator('#log [data-event="completion.event"] summary').click();
  const shown = JSON.parse(await page.locator('#log [data-event="completion.event"] pre').textContent());
  assert.equal(shown.id, got.at(-1).id);
  assert.match(await page.locator("#latency").textContent(), /^\d+\.\d ms$/);
  assert.deepEqual(troubles, []);
});

test("what a dropped connection misses is filled in", async () => {
  await connected();
  await subscribe("photo-43");
  await publish();
  await stagesDone("photo-43", 1);
  await page.getByRole("button", { name: "Drop connection" }).click();
  await page.getByRole("status").getByText("Reconnecting…", { exact: true }).waitFor();

  await page.getByText(/^Back, and .* filled in\.$/).waitFor();
  assert.equal(await page.locator("#recovered").textContent(), "recovered");
  await card("photo-43").getByText("Completed", { exact: true }).waitFor();
  const got = await events();
  assert.deepEqual(got.map((e) => e.type), runTypes);
  assert.equal(new Set(got.map((e) => e.id)).size, runTypes.length, "an event came twice");
  assert.ok(got.some((e) => e.filledIn), "the connection was back before anything was missed");
  assert.deepEqual(troubles, []);
});

test("what happened to a photo before is shown to who subscribes later", async () => {
  await connected();
  await subscribe("photo-45");
  await publish();
  await card("photo-45").getByText("Completed", { exact: true }).waitFor();
  const last = (await events()).at(-1).id;
  await page.getByRole("button", { name: "Publish a photo run" }).waitFor(); // its request has been answered, too
  await page.reload(); // the page knows nothing any more
  await session();
  await subscribe("photo-45");
  await card("photo-45").getByText("Completed", { exact: true }).waitFor();
  const got = await events();
  assert.deepEqual(got.map((e) => e.type), runTypes.slice(1)); // the upload was for the client, not for the photo
  assert.ok(got.every((e) => e.filledIn), "an event is not marked as one from before");
  assert.equal(got.at(-1).id, last);
  assert.deepEqual(troubles, []);
});

test("a failed run says where and why", async () => {
  await connected();
  await page.getByLabel("Photo id").fill("photo-44");
  await page.getByLabel("Let the processing fail").check();
  await publish(); // subscribes by itself
  await card("photo-44").getByText("Failed", { exact: true }).waitFor();
  await card("photo-44").getByText("ENCODER_TIMEOUT").waitFor();
  assert.equal((await events()).at(-1).type, "photo.processing.failed");
  assert.deepEqual(troubles, []);
});

test("a refused token is explained, and another can be given", async () => {
  await page.goto(`http://${service.address}/#token=nonsense`);
  await page.getByText("The server does not accept this token").waitFor();
  const token = new URLSearchParams(new URL(service.url).hash.slice(1)).get("token");
  await page.getByLabel("Access token").fill(token);
  await page.getByRole("button", { name: "Connect", exact: true }).click();
  await session();

  await page.getByRole("button", { name: "Disconnect" }).click();
  await page.getByRole("status").getByText("Not connected", { exact: true }).waitFor();
  await page.reload(); // the token outlives that in its tab
  await session();
  // When it is refused, the client library gives up its connection at once, often in the middle of the upgrade, and the
  // browser reports the request that this cuts short.
  assert.deepEqual(troubles.filter((trouble) => !trouble.includes("/socket.io/?")), []);
});

test("the page fits a phone", async () => {
  await page.setViewportSize({ width: 390, height: 844 });
  await connected();
  await publish();
  await stagesDone("photo-42", 1);
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 390);
  assert.deepEqual(troubles, []);
});
