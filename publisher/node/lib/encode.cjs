// From an object to the JSON that is sent, checked.
'use strict';

const { EventInvalidError, EventTooLargeError } = require('./errors.cjs');
const { checkSchema, kind } = require('./schema.cjs');

const MAX_BYTES = 1 << 20;
const MAX_DEPTH = 128; // of nested arrays and objects, the event itself included
const MAX_NAME_BYTES = 256; // of id and type
const STRINGS = ['source', 'traceId', 'clientId', 'sessionId', 'version', 'traceparent'];

/**
 * Returns { id, type, text, size }, text being the JSON and size its bytes. What is checked is what a reader of the
 * JSON sees, which is not always what was written: undefined is gone, a Date is a string, NaN is null. Later changes to
 * the object do not matter.
 */
function encode(value, { maxBytes = MAX_BYTES, check } = {}) {
  let text;
  try {
    text = JSON.stringify(value);
  } catch (error) {
    throw invalid('', `want what JSON can say: ${String(error?.message).split('\n', 1)[0]}`, named(value));
  }
  if (text === undefined || text[0] !== '{') throw invalid('', `want object, got ${kind(text === undefined ? value : JSON.parse(text))}`);
  const size = Buffer.byteLength(text);
  if (size > maxBytes) throw new EventTooLargeError(size, maxBytes, named(value));
  const event = JSON.parse(text);
  if (check) {
    checkShape(event);
    checkBy(check, event);
  } else {
    checkSchema(event);
    checkShape(event);
  }
  return { id: event.id, type: event.type, text, size };
}

/** What any event of the bus must be, whoever checks the rest: the bus drops others. */
function checkShape(event) {
  const problems = [];
  const want = (fits, field, message) => { if (!fits) problems.push({ field, message }); };
  want(!isDeeper(event, MAX_DEPTH), '', `want at most ${MAX_DEPTH} levels of nesting`);
  want(isName(event.id), 'id', `want a non-empty string of at most ${MAX_NAME_BYTES} bytes`);
  want(isName(event.type), 'type', `want a non-empty string of at most ${MAX_NAME_BYTES} bytes`);
  want(kind(event.data) === 'object', 'data', 'want an object');
  want(isStringOrAbsent(event.timestamp), 'timestamp', 'want a string');
  const metadata = event.metadata ?? {};
  want(kind(metadata) === 'object', 'metadata', 'want an object');
  for (const name of STRINGS) want(isStringOrAbsent(metadata[name]), `metadata.${name}`, 'want a string');
  if (problems.length > 0) throw new EventInvalidError(problems, named(event));
}

function checkBy(check, event) {
  const answer = check(event);
  if (typeof answer?.then !== 'function') return;
  answer.then(undefined, () => {}); // nobody waits for it
  throw new TypeError('check returned a promise: want one that throws, or returns, at once');
}

/** Throws an EventInvalidError or EventTooLargeError if an event of the photo platform would not be sent. */
function validate(event) {
  encode(event);
}

/** Who an event is, for an error. */
function named(event) {
  return { id: event?.id, type: event?.type };
}

function invalid(field, message, event) {
  return new EventInvalidError([{ field, message }], event);
}

function isName(value) {
  return typeof value === 'string' && value !== '' && Buffer.byteLength(value) <= MAX_NAME_BYTES;
}

function isStringOrAbsent(value) {
  return value === undefined || value === null || typeof value === 'string';
}

function isDeeper(value, levels) {
  if (typeof value !== 'object' || value === null) return false;
  if (levels === 0) return true;
  for (const key in value) if (isDeeper(value[key], levels - 1)) return true;
  return false;
}

module.exports = { MAX_BYTES, encode, named, validate };
