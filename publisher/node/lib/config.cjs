// What a Publisher is told: names, defaults and bounds.
'use strict';

const { MAX_BYTES } = require('./encode.cjs');

const positive = ['a whole number from 1 on', (v) => Number.isSafeInteger(v) && v >= 1];
const OPTIONS = {
  maxBytes: positive,
  maxBatch: positive,
  timeout: ['milliseconds, a whole number from 1 to 2147483647', (v) => Number.isSafeInteger(v) && v >= 1 && v <= 0x7fffffff],
  maxWaiting: positive,
  durable: ['true or false', (v) => typeof v === 'boolean'],
  prefix: ['a string', (v) => typeof v === 'string'],
  maxLen: positive,
  replicas: ['a whole number from 0 on', (v) => Number.isSafeInteger(v) && v >= 0],
  check: ['a function', (v) => typeof v === 'function'],
  source: ['a non-empty string', (v) => typeof v === 'string' && v !== ''],
};

/** Fills in the defaults. Throws one TypeError with all that is wrong. */
function configure(options = {}) {
  if (typeof options !== 'object' || options === null) throw new TypeError('the options of a Publisher: want an object');
  const problems = [];
  for (const [name, value] of Object.entries(options)) {
    if (!Object.hasOwn(OPTIONS, name)) problems.push(`${name}: unknown, want one of ${Object.keys(OPTIONS).join(', ')}`);
    else if (value !== undefined && !OPTIONS[name][1](value)) problems.push(`${name} is ${shown(value)}: want ${OPTIONS[name][0]}`);
  }
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const config = {
    maxBytes: MAX_BYTES, maxBatch: 1000, timeout: 5000, durable: false, prefix: 'eventbus:in:', maxLen: 100_000, replicas: 0, ...given,
  };
  config.maxWaiting ??= Math.max(10_000, config.maxBatch);
  if (config.maxWaiting < config.maxBatch) {
    problems.push(`maxWaiting is ${config.maxWaiting}: want maxBatch, which is ${config.maxBatch}, or more events`);
  }
  if (config.replicas > 0 && !config.durable) {
    problems.push(`replicas is ${config.replicas}, but durable is not set: what is sent by PUBLISH is not stored, so no replica can have it`);
  }
  if (problems.length > 0) throw new TypeError(`the options of a Publisher: ${problems.join('; ')}`);
  return Object.freeze(config);
}

function shown(value) {
  return typeof value === 'string' ? JSON.stringify(value.slice(0, 64)) : String(value).slice(0, 64);
}

module.exports = { configure };
