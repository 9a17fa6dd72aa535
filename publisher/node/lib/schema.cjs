// Holding events against the schemas, in the words of the bus.
'use strict';

const Ajv = require('ajv/dist/2020').default;
const { schemas, channels } = require('../schemas.json');
const { EventInvalidError } = require('./errors.cjs');

const MAX_ERRORS = 1000; // of one event that are looked at
const MAX_PROBLEMS = 20; // and told
const MAX_NAME = 64; // characters of one name in a problem
const MAX_LIST = 200;

let compiled;

/** Compiled when first used: whoever has a check of their own does without. */
function validators() {
  if (compiled) return compiled;
  const ajv = new Ajv({ allErrors: true, verbose: true });
  ajv.addFormat('date-time', isDateTime);
  for (const [name, schema] of Object.entries(schemas)) ajv.addSchema(schema, name);
  compiled = new Map(Object.keys(channels).map((type) => [type, ajv.getSchema(`${type}.json`)]));
  compiled.set(undefined, ajv.getSchema('envelope.json'));
  return compiled;
}

/** Throws an EventInvalidError if an event, as JSON.parse returns it, breaks the schema of its type. */
function checkSchema(event) {
  const { type } = event;
  const known = typeof type === 'string' && Object.hasOwn(channels, type);
  const valid = validators().get(known ? type : undefined);
  const errors = valid(event) ? [] : valid.errors;
  const problems = errors.slice(0, MAX_ERRORS).map(describe);
  if (typeof type === 'string' && !known) {
    problems.push({ field: 'type', message: `unknown ${cut(JSON.stringify(type), MAX_LIST)}, want one of ${Object.keys(channels).join(', ')}` });
  }
  if (problems.length > 0) throw new EventInvalidError(bounded(problems, Math.max(0, errors.length - MAX_ERRORS)), event);
}

/** Sorted, each once: the envelope and the type may complain of the same. */
function bounded(problems, others) {
  const byText = new Map(problems.map((p) => [`${p.field}\0${p.message}`, p]));
  const sorted = [...byText.keys()].sort().map((text) => byText.get(text));
  const more = sorted.length - MAX_PROBLEMS + others;
  return more > 0 ? [...sorted.slice(0, MAX_PROBLEMS), { field: '', message: `and ${more} more` }] : sorted;
}

function describe({ instancePath, keyword, params, schema, parentSchema, data }) {
  const path = instancePath.split('/').slice(1).map((name) => name.replaceAll('~1', '/').replaceAll('~0', '~'));
  const at = (message, ...below) => ({ field: [...path, ...below].map((name) => cut(name, MAX_NAME)).join('.'), message });
  switch (keyword) {
    case 'required':
      return at(`missing, want ${parentSchema.properties?.[params.missingProperty]?.type ?? 'a value'}`, params.missingProperty);
    case 'additionalProperties':
      return at('unexpected, want it left out', params.additionalProperty);
    case 'type':
      return at(`want ${[schema].flat().join(' or ')}, got ${kind(data)}`);
    case 'const':
      return at(`want ${cut(JSON.stringify(schema), MAX_LIST)}`);
    case 'enum':
      return at(`want one of ${cut(schema.map((v) => JSON.stringify(v)).join(', '), MAX_LIST)}`);
    case 'minimum':
      return at(`want at least ${schema}`);
    case 'maximum':
      return at(`want at most ${schema}`);
    case 'minLength':
      return at(schema === 1 ? 'want a non-empty string' : `want at least ${schema} characters`);
    case 'maxLength':
      return at(`want at most ${schema} characters`);
    case 'pattern':
      return at(`want a match of ${cut(schema, MAX_LIST)}`);
    case 'minItems':
      return at(`want a list of at least ${schema}`);
    case 'maxItems':
      return at(`want a list of at most ${schema}`);
    case 'format':
      return at(schema === 'date-time' ? 'want a date-time as in RFC 3339, such as 2026-01-31T12:00:00.000Z' : `want a string of the format ${schema}`);
    default:
      return at(`breaks the schema's ${keyword}`);
  }
}

/** RFC 3339, section 5.6, as the bus reads it: with a T, a day there is, and a leap second only where one may be. */
function isDateTime(text) {
  const m = /^(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:[Zz]|([+-])(\d\d):(\d\d))$/.exec(text);
  if (!m) return false;
  const [year, month, day, hour, minute, second] = m.slice(1, 7).map(Number);
  const [zoneHour, zoneMinute] = [Number(m[8] ?? 0), Number(m[9] ?? 0)];
  if (month < 1 || month > 12 || day < 1 || day > daysOf(year, month)) return false;
  if (hour > 23 || minute > 59 || second > 60 || zoneHour > 23 || zoneMinute > 59) return false;
  if (second < 60) return true;
  const offset = (m[7] === '-' ? -1 : 1) * (zoneHour * 60 + zoneMinute);
  const utc = (hour * 60 + minute - offset + 24 * 60) % (24 * 60);
  return utc === 23 * 60 + 59;
}

function daysOf(year, month) {
  if (month === 2) return (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0 ? 29 : 28;
  return [4, 6, 9, 11].includes(month) ? 30 : 31;
}

function kind(value) {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'array' : typeof value;
}

function cut(text, limit) {
  return text.length > limit ? `${text.slice(0, limit)}…` : text;
}

module.exports = { checkSchema, kind };
