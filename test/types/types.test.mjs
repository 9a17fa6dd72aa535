// The files that "go generate ./events" writes, judged by the tools that will read them.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import Ajv from "ajv";
import Ajv2020 from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

const require = createRequire(import.meta.url);
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const json = async (path) => JSON.parse(await readFile(here(path), "utf8"));

test("a front-end compiles against the types, and its mistakes do not", async () => {
  try {
    await promisify(execFile)(process.execPath, [require.resolve("typescript/bin/tsc"), "-p", here(".")]);
  } catch (err) {
    assert.fail(err.stdout || err.message);
  }
});

test("the AsyncAPI document keeps to AsyncAPI 3.0", async () => {
  const ajv = new Ajv({ strict: false, allErrors: true });
  addFormats(ajv);
  const validate = ajv.compile(require("@asyncapi/specs").schemasWithoutId["3.0.0"]);
  const document = await json("../../docs/asyncapi.json");
  assert.ok(validate(document), ajv.errorsText(validate.errors));
  assert.equal(validate({ ...document, channels: { x: { address: 5 } } }), false);
});

test("every reference in the AsyncAPI document leads somewhere, and everything is referred to", async () => {
  const document = await json("../../docs/asyncapi.json");
  const seen = new Set();
  const walk = (value) => {
    if (value === null || typeof value !== "object") return;
    if (typeof value.$ref === "string") {
      seen.add(value.$ref);
      const target = value.$ref.slice(2).split("/").reduce((v, key) => v?.[key.replaceAll("~1", "/")], document);
      assert.ok(value.$ref.startsWith("#/") && target !== undefined, value.$ref);
    }
    Object.values(value).forEach(walk);
  };
  walk(document);
  for (const kind of ["messages", "schemas"]) {
    for (const name of Object.keys(document.components[kind])) assert.ok(seen.has(`#/components/${kind}/${name}`), name);
  }
});

test("the AsyncAPI document has every channel, event and answer", async () => {
  const { channels, operations } = await json("../../docs/asyncapi.json");
  const addresses = Object.values(channels).map((c) => c.address).sort();
  assert.deepEqual(addresses, [
    "/", "eventbus:in:photo:completion", "eventbus:in:photo:processing", "eventbus:in:photo:upload",
    "photo:completion", "photo:processing", "photo:upload",
  ]);
  assert.deepEqual(Object.keys(channels["photo.upload.stream"].messages).sort(), ["photo.deleted", "photo.uploaded"]);
  const names = (action) => Object.keys(operations).filter((k) => k.startsWith(`${action}.`) && operations[k].channel.$ref === "#/channels/socket").sort();
  assert.deepEqual(names("send"), [
    "send.completion.event", "send.error", "send.heartbeat", "send.identified", "send.processing.event", "send.subscribed",
    "send.unsubscribed", "send.upload.event",
  ]);
  assert.deepEqual(names("receive"), [
    "receive.heartbeat", "receive.identify", "receive.subscribe.photo", "receive.subscribe.user", "receive.unsubscribe.photo",
    "receive.unsubscribe.user",
  ]);
  for (const key of names("receive")) assert.equal(operations[key].reply.messages.length, 1, key);
});

// What a type wants, and one thing it does not.
const cases = {
  "photo.uploaded": [{ photoId: "p", userId: "u", filename: "f", size: 1, mimeType: "image/png" }, { size: -1 }],
  "photo.processing.started": [{ photoId: "p", jobId: "j", stages: ["s"] }, { stages: [1] }],
  "photo.processing.stage.completed": [{ photoId: "p", jobId: "j", stage: "s", progress: 50 }, { progress: 101 }],
  "photo.processing.completed": [{
    photoId: "p", jobId: "j", duration: 1,
    results: {
      thumbnails: [{ size: "s", url: "u", dimensions: { width: 1, height: 1 } }],
      metadata: { dimensions: { width: 1, height: 1 }, format: "jpeg", colorSpace: "sRGB" },
      optimization: { originalSize: 2, optimizedSize: 1, compressionRatio: 0.5 },
    },
  }, { results: {} }],
  "photo.processing.failed": [{ photoId: "p", jobId: "j", stage: "s", error: { code: "c", message: "" }, retryable: true }, { retryable: "yes" }],
  "photo.deleted": [{ photoId: "p" }, { photoId: "" }],
  "batch.processing.completed": [{ batchId: "b" }, { batchId: 5 }],
};

test("the schemas validate in Node as they do in Go", async () => {
  const { channels, schemas } = await json("../../publisher/node/schemas.json");
  const ajv = new Ajv2020({ strict: true, allErrors: true });
  addFormats(ajv);
  for (const [name, schema] of Object.entries(schemas)) ajv.addSchema(schema, name);
  assert.deepEqual(Object.keys(channels).sort(), Object.keys(cases).sort());
  for (const [type, [data, wrong]] of Object.entries(cases)) {
    const validate = ajv.getSchema(`${type}.json`);
    const event = { id: "e", type, data, metadata: { source: "s", version: "1.0" }, timestamp: new Date().toISOString() };
    assert.ok(validate(event), `${type}: ${ajv.errorsText(validate.errors)}`);
    assert.equal(validate({ ...event, data: { ...data, ...wrong } }), false, type);
    assert.equal(validate({ ...event, type: "x" }), false, type);
    assert.equal(validate({ ...event, timestamp: "today" }), false, type);
  }
});

test("the payloads in the AsyncAPI document want the same", async () => {
  const document = await json("../../docs/asyncapi.json");
  const ajv = new Ajv({ strict: false });
  addFormats(ajv);
  ajv.addSchema(document, "doc");
  for (const [type, [data, wrong]] of Object.entries(cases)) {
    const validate = ajv.compile({ $ref: `doc${document.components.messages[type].payload.$ref}` });
    const event = { id: "e", type, data, metadata: { source: "s", version: "1.0" }, timestamp: new Date().toISOString() };
    assert.ok(validate(event), `${type}: ${ajv.errorsText(validate.errors)}`);
    assert.equal(validate({ ...event, data: { ...data, ...wrong } }), false, type);
    assert.equal(validate({ ...event, metadata: {} }), false, type);
  }
});
