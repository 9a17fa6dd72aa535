// The first run: `eventbus serve --dev` alone, from nothing to a shown event; and without --dev nothing is made up.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import Redis from 'ioredis';
import jwt from 'jsonwebtoken';
import { until, within } from './lib/await.mjs';
import { cleanup } from './lib/cleanup.mjs';
import { Client } from './lib/client.mjs';
import { event, numbered, numbers, publish, range } from './lib/events.mjs';
import { startEmbedded, startInVain } from './lib/server.mjs';

const BANNER_URL = /(http:\/\/127\.0\.0\.1:\d+)\/#token=([\w-]+\.[\w-]+\.[\w-]+)/;

test('with no Redis and no secret given: the page is there, and an ordinary Redis client publishes to it', async (t) => {
  const server = await startEmbedded();
  cleanup(t, () => server.stop());
  const [, page, text] = await until(() => server.program.stdout.match(BANNER_URL), () => `a banner, got ${server.program.stdout}`);
  assert.equal(page, server.url);
  const response = await fetch(`${page}/`);
  assert.equal(response.status, 200);
  assert.match(response.headers.get('content-type'), /^text\/html/);

  const [host, port] = server.addresses.redis.split(':');
  assert.equal(host, '127.0.0.1');
  const client = new Redis({ host, port: Number(port), lazyConnect: true });
  cleanup(t, () => client.disconnect());
  await within(client.connect(), 'the embedded Redis');
  const store = { client };

  const claims = jwt.decode(text);
  const browser = await Client.identified(t, server, { user: claims.userId ?? claims.sub, auth: { token: text } });
  const data = { photoId: 'first', userId: browser.user, filename: 'first.jpg', size: 1, mimeType: 'image/jpeg' };
  const uploaded = event('photo.uploaded', data, { clientId: browser.clientId });
  await publish(store, uploaded);
  assert.deepEqual(await browser.received('upload.event', 1), [uploaded]);
  await browser.asks('subscribe:photo', { photoId: 'first' });
  await publish(store, ...numbered('first', 0, 50));
  await browser.received('processing.event', 50);

  browser.drop();
  await browser.disconnected();
  await publish(store, ...numbered('first', 50, 100));
  assert.equal(await browser.connected(1), true);
  await browser.received('processing.event', 100);
  assert.deepEqual(numbers(browser), range(100));

  browser.close();
  assert.deepEqual(await server.stop(), { code: 0, signal: null });
});

test('a token of one run is worth nothing in the next', async (t) => {
  const [first, second] = [await startEmbedded(), await startEmbedded()];
  cleanup(t, () => first.stop());
  cleanup(t, () => second.stop());
  const [, , text] = await until(() => first.program.stdout.match(BANNER_URL), 'a banner');
  const stranger = new Client(t, second, { auth: { token: text } });
  const { detail } = await stranger.state((s) => s.state === 'refused', 'a refusal');
  assert.equal(detail.message, 'Invalid token');
});

test('without --dev it refuses to start, naming the secret and the Redis it lacks', async () => {
  const { code, stderr } = await startInVain({});
  assert.ok(code > 0, `exit code ${code}`);
  assert.match(stderr, /JWT_SECRET/);
  assert.match(stderr, /REDIS_(HOST|URL)/);
});
