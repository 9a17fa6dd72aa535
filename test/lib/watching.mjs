// The client most tests are about: it watches one photo, whose events are numbered.
import assert from 'node:assert/strict';
import { Client } from './client.mjs';
import { numbers, range } from './events.mjs';
import { unique } from './tokens.mjs';

/** An identified client that watches a photo of its own, photoId. */
export async function watching(t, server, options) {
  const client = await Client.identified(t, server, options);
  client.photoId = unique('photo');
  await client.asks('subscribe:photo', { photoId: client.photoId });
  return client;
}

/** It has received the events 0..count-1, in order, once each, and nothing else. */
export async function sees(client, count) {
  await client.received('processing.event', count, 30_000);
  await client.asks('heartbeat'); // whatever else was sent before its answer has arrived as well
  assert.deepEqual(numbers(client), range(count));
}
