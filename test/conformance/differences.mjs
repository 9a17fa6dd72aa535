// Where we differ from the official server on purpose: what each does, and why. Anything else that differs is a bug.

const CONNECTED = ['0{"pid":"<id>","sid":"<id>"}', '2["auth",{}]'];
const HOLE = '{"_placeholder":true,"num":0}';
const json = (code, message) => JSON.stringify({ code, message });

export const differences = {
  // --- HTTP
  'handshake by OPTIONS': {
    why: 'a browser asks so before it polls from another origin; without headers that allow it the answer is no as well',
    node: { status: 400, type: 'application/json', body: json(2, 'Bad handshake method') },
    go: { status: 204, type: null, body: '' },
  },
  'upgrade request for polling': {
    why: 'we refuse before we upgrade',
    node: { status: 101, body: undefined },
    go: { status: 400, body: json(3, 'Bad request') },
  },
  'upgrade request with protocol 3': {
    why: 'we refuse before we upgrade',
    node: { status: 101, body: undefined },
    go: { status: 400, body: json(5, 'Unsupported protocol version') },
  },
  'upgrade request without protocol': {
    why: 'we refuse before we upgrade',
    node: { status: 101, body: undefined },
    go: { status: 400, body: json(5, 'Unsupported protocol version') },
  },
  'upgrade request with unknown transport': {
    why: 'our errors look the same for every request',
    node: { status: 400, body: 'Transport unknown' },
    go: { status: 400, body: json(0, 'Transport unknown') },
  },
  'upgrade request with unknown sid': {
    why: 'our errors look the same for every request',
    node: { status: 400, body: 'Session ID unknown' },
    go: { status: 400, body: json(1, 'Session ID unknown') },
  },
  'upgrade request without key': {
    why: 'the words are those of the websocket library',
    node: { status: 400, body: 'Missing or invalid Sec-WebSocket-Key header' },
    go: { status: 400, body: 'handshake error: bad "Sec-WebSocket-Key" header' },
  },
  'upgrade request with websocket version 8': {
    why: 'RFC 6455 knows version 13 alone',
    node: { status: 101, body: undefined },
    go: { status: 426, body: 'handshake error: bad "Sec-WebSocket-Version" header' },
  },
  'PUT with a sid': { why: 'it is the method that is wrong, not the server', node: 500, go: 405 },
  'POST binary that is no base64': {
    why: 'what cannot be decoded is refused, not taken for empty',
    node: {
      answer: { status: 200, type: 'text/html', body: 'ok' },
      seen: [...CONNECTED, `61-1[${HOLE}]`, 'b', '4/fence,{"message":"Invalid namespace"}'],
    },
    go: { answer: { status: 200, type: 'text/html', body: 'ok' }, seen: [...CONNECTED, 'refused 400'] },
  },
  'POST binary in URL-safe base64': {
    why: 'the protocol has standard base64',
    node: {
      answer: { status: 200, type: 'text/html', body: 'ok' },
      seen: [...CONNECTED, `61-1[${HOLE}]`, 'b/+8=', '4/fence,{"message":"Invalid namespace"}'],
    },
    go: { answer: { status: 200, type: 'text/html', body: 'ok' }, seen: [...CONNECTED, 'refused 400'] },
  },
  'POST: not UTF-8': {
    why: 'what cannot be decoded is refused, not mended',
    node: { status: 200, seen: [...CONNECTED, '31["\ufffd"]', '4/fence,{"message":"Invalid namespace"}'] },
    go: { status: 200, seen: [...CONNECTED, 'refused 400'] },
  },

  // --- Websocket
  'websocket: a client that does not answer is closed': {
    why: 'whoever is not there needs no goodbye',
    node: [1, ...CONNECTED, 'closed 1005'],
    go: [1, ...CONNECTED, 'closed 1006'],
  },
  'websocket: the client sends close': {
    why: 'the protocol has this packet on every transport; the official server hears it from polling alone',
    node: [...CONNECTED, 'open'],
    go: [...CONNECTED, 'closed 1006'],
  },
  'engine: close with data': {
    why: 'as above',
    node: [...CONNECTED, 'open'],
    go: [...CONNECTED, 'closed 1006'],
  },
  'upgrade with something else than a probe': {
    why: 'what never became a transport is dropped without a goodbye',
    node: { seen: ['closed 1005', ...CONNECTED], status: 200 },
    go: { seen: ['closed 1006', ...CONNECTED], status: 200 },
  },
  ...each(['engine: empty frame', 'engine: type 7', 'engine: type x', 'engine: base64 that is none'], {
    why: 'our close frame has a code',
    node: [...CONNECTED, 'closed 1005'],
    go: [...CONNECTED, 'closed 1000'],
  }),
  'frame: close without a code': {
    why: 'our close frame has a code',
    node: [...CONNECTED, 'closed 1005'],
    go: [...CONNECTED, 'closed 1000'],
  },
  'frame: close with a reason that is not UTF-8': {
    why: 'both codes say that the frame was wrong',
    node: [...CONNECTED, 'closed 1007'],
    go: [...CONNECTED, 'closed 1002'],
  },

  // --- Socket.IO
  ...each([
    'event without payload', 'event with id and no payload', 'event with a namespace and nothing', 'binary: no payload',
  ], closes('an event has a name')),
  ...each(['ack without id', 'ack without payload', 'ack without anything', 'binary ack without id'],
    closes('an ack has an id and a list of values')),
  ...each(['ack of a huge id', 'id of 100,000 digits', 'id of 400 digits', 'id 2^64', 'id 2^53+1'], closes('no client counts that far', {
    'ack of a huge id': [],
    'id of 100,000 digits': ['3Infinity[]'],
    'id of 400 digits': ['3Infinity[]'],
    'id 2^64': ['318446744073709552000[]'],
    'id 2^53+1': ['39007199254740992[]'],
  })),
  ...each(['event: 20,000 deep', 'event: objects 20,000 deep'], closes('JSON may be 10,000 levels deep; deeper is an attack')),
  'CONNECT: 20,000 deep': { why: 'as above', node: ['4/random,{"message":"Invalid namespace"}', 'open'], go: ['closed 1005'] },
  ...each(['event: byte order mark'], closes('RFC 8259 section 8.1 has none', { 'event: byte order mark': ['30[]'] })),
  ...each(['binary: +1', 'binary: 1.0', 'binary: 1e0', 'binary: 0x1', 'binary: a space', 'binary: placeholder 0e0'],
    closes('a count is written in digits', Object.fromEntries(
      ['binary: +1', 'binary: 1.0', 'binary: 1e0', 'binary: 0x1', 'binary: a space', 'binary: placeholder 0e0']
        .map((name) => [name, [`61-1[${HOLE}]`, 'binary 0102']])))),
  ...each(['binary: placeholder 0.5'], closes('there is no half an attachment')),
  'CONNECT to a namespace of 100,000 letters': {
    why: 'a name has 1,024 bytes at most',
    node: [`4/${'x'.repeat(100_000)},{"message":"Invalid namespace"}`, 'open'],
    go: ['closed 1005'],
  },

  // --- Reasons
  ...each([
    'reason: not a Socket.IO packet', 'reason: reserved event', 'reason: CONNECT twice', 'reason: event in a namespace not joined',
  ], { why: 'its documentation says "parse error" for this; what it gives is the reason of the close that follows', node: 'forced close', go: 'parse error' }),
};

/** The same difference, or one made for each name, for several tests. */
function each(names, difference) {
  return Object.fromEntries(names.map((name) => (typeof difference === 'function' ? difference(name) : [name, difference])));
}

/** After CONNECT the official server takes it, and answers as given or not at all; we close. */
function closes(why, answers = {}) {
  return (name) => [`after CONNECT: ${name}`, {
    why,
    node: [...CONNECTED, ...(answers[name] ?? []), 'open'],
    go: [...CONNECTED, 'closed 1005'],
  }];
}
