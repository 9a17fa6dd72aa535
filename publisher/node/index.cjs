// The whole package. index.mjs hands out the same objects, so that a program which loads both has one of each class.
'use strict';

const { Publisher } = require('./lib/publisher.cjs');
const { channelOf, createEvent } = require('./lib/event.cjs');
const { validate } = require('./lib/encode.cjs');
const errors = require('./lib/errors.cjs');

module.exports = { Publisher, createEvent, channelOf, validate, ...errors };
