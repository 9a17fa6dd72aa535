// Making events, and where they go.
'use strict';

const { randomFillSync } = require('node:crypto');
const { channels } = require('../schemas.json');

/** The default channel of an event type of the photo platform, or undefined. */
function channelOf(type) {
  return Object.hasOwn(channels, type) ? channels[type] : undefined;
}

/** An event that happens now. Its id is a UUIDv7, so that ids sort by time; metadata.version is "1.0" unless given. */
function createEvent(type, data, metadata) {
  return {
    id: uuidV7(Date.now()),
    type,
    data,
    metadata: { ...metadata, version: metadata?.version ?? '1.0' },
    timestamp: new Date().toISOString(),
  };
}

let lastTime = -Infinity;
let sequence = 0;

/** RFC 9562, section 5.7, with the counter of 6.2, method 1: ids that this process makes ascend, whatever its clock does. */
function uuidV7(now) {
  const bytes = randomFillSync(Buffer.allocUnsafe(16));
  if (now > lastTime) {
    lastTime = now;
    sequence = bytes.readUInt16BE(6) & 0x7ff; // the upper half is left to count in
  } else {
    sequence += 1;
    if (sequence > 0xfff) {
      lastTime += 1;
      sequence = 0;
    }
  }
  bytes.writeUIntBE(lastTime, 0, 6);
  bytes.writeUInt16BE(0x7000 | sequence, 6);
  bytes[8] = 0x80 | (bytes[8] & 0x3f);
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

module.exports = { channelOf, createEvent };
