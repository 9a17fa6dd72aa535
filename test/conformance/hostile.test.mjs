// What no well-meaning client sends. A server must not fall, and must not take for good what it cannot understand.
import assert from 'node:assert/strict';
import { same } from './lib/compare.mjs';
import { exchange, Poll, tcp } from './lib/polling.mjs';
import { frame, talk, Wire } from './lib/wire.mjs';
import { until } from '../lib/await.mjs';

const long = 'x'.repeat(100_000);
const nest = (depth) => '['.repeat(depth) + ']'.repeat(depth);
const HOLE = '{"_placeholder":true,"num":0}';
const hole = (num) => `{"_placeholder":true,"num":${num}}`;
const BYTES = Buffer.from([1, 2]);

// --- Socket.IO packets, before CONNECT and after

const PACKETS = {
  'nothing': [''],
  'type 7': ['7'],
  'type x': ['x'],
  'type 9 with JSON': ['9["echo"]'],
  'only JSON': ['["echo"]'],
  'a space in front': [' 2["echo"]'],
  'event without payload': ['2'],
  'event with id and no payload': ['21'],
  'event: null': ['2null'],
  'event: object': ['2{"0":"echo"}'],
  'event: text': ['2"echo"'],
  'event: empty array': ['2[]'],
  'event named null': ['2[null]'],
  'event named true': ['2[true]'],
  'event named by an object': ['2[{"a":1}]'],
  'event named by an array': ['2[["echo"]]'],
  'event named 5': ['2[5,1]'],
  'event named -1.5': ['2[-1.5]'],
  'event named by nothing': ['2[""]'],
  'event named by 100,000 letters': [`2["${long}"]`],
  'event named __proto__': ['2["__proto__",{"__proto__":{"a":1}}]'],
  'event named toString': ['21["toString"]'],
  'event named connection': ['2["connection"]'],
  'event named error': ['2["error",{}]'],
  ...Object.fromEntries(['connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener']
    .map((name) => [`event named ${name}`, [`21["${name}"]`]])),
  'event named connect in escapes': ['2["\\u0063onnect"]'],
  'event: half a surrogate': ['21["echo","\\ud800"]'],
  'event: a null byte': ['21["echo","\\u0000"]'],
  'event: a raw control character': ['2["echo","\x01"]'],
  'event: unfinished': ['2["echo"'],
  'event: trailing comma': ['2["echo",]'],
  'event: something behind': ['2["echo"]x'],
  'event: twice': ['2["echo"]["echo"]'],
  'event: spaces within and behind': ['21[ "echo" ,\t1\n] \r\n'],
  'event: single quotes': ["2['echo']"],
  'event: NaN': ['2["echo",NaN]'],
  'event: a comment': ['2["echo"/**/]'],
  'event: byte order mark': ['2\ufeff["echo"]'],
  'event: numbers of all kinds': ['21["echo",1e400,-0,1E+2,123456789012345678901234567890,5e-324]'],
  'event: numbers that are none': ['2["echo",01]'],
  'event: the same key twice': ['21["echo",{"a":1,"a":2}]'],
  'event: __proto__ as a key': ['21["echo",{"__proto__":{"polluted":true},"constructor":{"prototype":1}}]'],
  'event: placeholder without attachments': [`21["echo",${HOLE}]`],
  'event: text of 100,000 letters': [`21["echo","${long}"]`],
  'event: 1,000 deep': [`21["echo",${nest(1000)}]`],
  'event: 5,000 deep': [`2["nobody",${nest(5000)}]`],
  'event: 20,000 deep': [`2["nobody",${nest(20_000)}]`],
  'event: objects 20,000 deep': [`2["nobody",${'{"a":'.repeat(20_000)}1${'}'.repeat(20_000)}]`],
  'event: 100,000 open brackets': [`2["nobody",${'['.repeat(100_000)}`],
  'id -1': ['2-1["echo"]'],
  'id +1': ['2+1["echo"]'],
  'id 1.5': ['21.5["echo"]'],
  'id 0x1': ['20x1["echo"]'],
  'id 1e3': ['21e3["echo"]'],
  'id 007': ['2007["echo"]'],
  'id 2^53-1': ['29007199254740991["echo"]'],
  'id 2^53+1': ['29007199254740993["echo"]'],
  'id 2^64': ['218446744073709551616["echo"]'],
  'id of 400 digits': [`2${'9'.repeat(400)}["echo"]`],
  'id of 100,000 digits': [`2${'9'.repeat(100_000)}["echo"]`],
  'id of 100,000 zeros': [`2${'0'.repeat(100_000)}["echo"]`],
  'ack nobody waits for': ['39["a"]'],
  'ack without id': ['3["a"]'],
  'ack without payload': ['30'],
  'ack without anything': ['3'],
  'ack: object': ['30{}'],
  'ack: null': ['30null'],
  'ack of a huge id': [`3${'9'.repeat(400)}[]`],
  'DISCONNECT with a payload': ['1{}'],
  'DISCONNECT with null': ['1null'],
  'DISCONNECT with an id': ['11'],
  'CONNECT_ERROR': ['4{"message":"x"}'],
  'CONNECT_ERROR: text': ['4"x"'],
  'CONNECT_ERROR: nothing': ['4'],
  'CONNECT_ERROR: array': ['4[]'],
  'event in a namespace not joined': ['2/custom,["echo"]'],
  'event in an unknown namespace': ['2/random,["echo"]'],
  'ack in a namespace not joined': ['3/custom,1[]'],
  'DISCONNECT from a namespace not joined': ['1/custom,'],
  'event in /': ['2/,1["echo"]'],
  'event with an empty namespace': ['2,["echo"]'],
  'event with a namespace and nothing': ['2/'],
  'event with a namespace in capitals': ['2/CUSTOM,["echo"]'],
  'namespace of 100,000 letters': [`2/${long},["echo"]`],
  'binary: only the type': ['5'],
  'binary: no attachments': ['50-["echo"]'],
  'binary: no number': ['5-["echo"]'],
  'binary: no dash': ['51["echo"]'],
  'binary: no payload': ['51-', BYTES],
  'binary: 999999999': ['5999999999-'],
  'binary: 999999999 with payload': ['5999999999-["echo"]', BYTES],
  'binary: 100,000 digits': [`5${'9'.repeat(100_000)}-["echo"]`],
  'binary: 100,000 zeros': [`5${'0'.repeat(100_000)}1-["echo"]`],
  'binary: 001': [`5001-1["binary",${HOLE}]`, BYTES],
  'binary: -1': ['5-1-["echo"]'],
  'binary: +1': [`5+1-1["binary",${HOLE}]`, BYTES],
  'binary: 1.5': ['51.5-["echo"]'],
  'binary: 1.0': [`51.0-1["binary",${HOLE}]`, BYTES],
  'binary: 1e0': [`51e0-1["binary",${HOLE}]`, BYTES],
  'binary: 0x1': [`50x1-1["binary",${HOLE}]`, BYTES],
  'binary: a space': [`5 1-1["binary",${HOLE}]`, BYTES],
  'binary: ten': [`510-1["binary",${hole(9)}]`, ...'0123456789'.split('').map((digit) => Buffer.from(digit))],
  'binary: eleven': ['511-["echo"]'],
  'binary: reserved name': [`51-["disconnect",${HOLE}]`, BYTES],
  'binary: placeholder for a name': [`51-[${HOLE}]`, BYTES],
  'binary: object': ['51-{}', BYTES],
  'binary: null': ['51-null', BYTES],
  'binary: placeholder 1 of 1': [`51-1["echo",${hole(1)}]`, BYTES],
  'binary: placeholder -1': [`51-1["echo",${hole(-1)}]`, BYTES],
  'binary: placeholder 0.5': [`51-["nobody",${hole(0.5)}]`, BYTES],
  'binary: placeholder 0e0': [`51-1["binary",${hole('0e0')}]`, BYTES],
  'binary: placeholder -0': [`51-1["binary",${hole('-0')}]`, BYTES],
  'binary: placeholder 1e99': [`51-1["echo",${hole('1e99')}]`, BYTES],
  'binary: placeholder "0"': [`51-1["echo",${hole('"0"')}]`, BYTES],
  'binary: placeholder null': [`51-1["echo",${hole('null')}]`, BYTES],
  'binary: placeholder without num': ['51-1["echo",{"_placeholder":true}]', BYTES],
  'binary: placeholder that is not true': ['51-1["echo",{"_placeholder":1,"num":9}]', BYTES],
  'binary: placeholder used twice': [`51-1["parcel",{"file":${HOLE},"parts":[${HOLE}],"n":1}]`, BYTES],
  'binary: attachment not used': ['51-1["echo",1]', BYTES],
  'binary: attachment out of the blue': [BYTES],
  'binary: empty attachment out of the blue': [Buffer.alloc(0)],
  'binary: text while one is due': ['52-["echo"]', BYTES, '2["echo"]'],
  'binary: CONNECT while one is due': ['51-["echo"]', '0/custom,'],
  'binary: another binary while one is due': ['51-["echo"]', '51-["echo"]'],
  'binary: 5,000 deep': [`51-["nobody",${nest(5000)}]`, BYTES],
  'binary: for a namespace not joined': [`51-/custom,["binary",${HOLE}]`, BYTES],
  'binary ack nobody waits for': ['61-9[]', BYTES],
  'binary ack without id': ['61-[]', BYTES],
  'binary ack: 999999999': ['6999999999-1[]'],
  'CONNECT_ERROR for a namespace not joined': ['4/custom,{"message":"x"}'],
};
for (const [name, packets] of Object.entries(PACKETS)) {
  same(`before CONNECT: ${name}`, talk(...packets));
  same(`after CONNECT: ${name}`, talk('0', ...packets));
}

const CONNECTS = {
  'CONNECT twice': ['0', '0'],
  'CONNECT twice with a packet between': ['0', '21["echo"]', '0{}'],
  'CONNECT to a custom namespace twice': ['0/custom,', '0/custom,'],
  'CONNECT: null': ['0null'],
  'CONNECT: array': ['0[]'],
  'CONNECT: text': ['0"x"'],
  'CONNECT: number': ['01'],
  'CONNECT: true': ['0true'],
  'CONNECT: unfinished': ['0{"a":'],
  'CONNECT: something behind': ['0{}{}'],
  'CONNECT: deep': [`0{"a":${nest(500)}}`],
  'CONNECT: 20,000 deep': [`0/random,{"a":${nest(20_000)}}`],
  'CONNECT: __proto__': ['0{"__proto__":{"token":"good"}}'],
  'CONNECT: token is an object': ['0/auth,{"token":{"a":1}}'],
  'CONNECT: token is null': ['0/auth,{"token":null}'],
  'CONNECT: the same token twice': ['0/auth,{"token":"bad","token":"good"}'],
  'CONNECT: pid and offset that nobody had': ['0{"pid":"x","offset":"1-1"}'],
  'CONNECT: pid and offset of the wrong type': ['0{"pid":{},"offset":[]}'],
  'CONNECT: pid __proto__': ['0{"pid":"__proto__","offset":"__proto__"}'],
  'CONNECT to /': ['0/,'],
  'CONNECT to //': ['0//,'],
  'CONNECT without a slash': ['0custom,'],
  'CONNECT to a namespace with a query': ['0/custom?a=b,'],
  'CONNECT to __proto__': ['0/__proto__,'],
  'CONNECT to a namespace of 1,000 letters': [`0/${'n'.repeat(1000)},`],
  'CONNECT to a namespace of 100,000 letters': [`0/${long},`],
  'CONNECT with an id': ['05{}'],
  'DISCONNECT twice': ['0', '1', '1'],
  'event after DISCONNECT': ['0', '1', '2["echo"]'],
};
for (const [name, packets] of Object.entries(CONNECTS)) same(name, talk(...packets));

// --- Engine.IO packets over websocket

const ENGINE = {
  'engine: empty frame': [''],
  'engine: type 7': ['7'],
  'engine: type x': ['xyz'],
  'engine: open': ['0{"sid":"x"}'],
  'engine: ping': ['2'],
  'engine: probe': ['2probe'],
  'engine: pong': ['3'],
  'engine: pong with data': ['3probe'],
  'engine: upgrade': ['5'],
  'engine: noop': ['6'],
  'engine: base64': ['bAQID'],
  'engine: base64 that is none': ['b!'],
  'engine: close with data': ['1abc'],
};
for (const [name, packets] of Object.entries(ENGINE)) {
  same(name, async (twin, t) => {
    const wire = await Wire.open(twin, t);
    wire.send('40');
    await wire.settle();
    wire.send(...packets);
    await wire.settle();
    return wire.seen();
  });
}

// --- Websocket frames

const text = (payload, options) => frame(1, payload, options);
const FRAMES = {
  'frame: text that is not UTF-8': [text(Buffer.from([0x34, 0x32, 0x5b, 0xff, 0xfe, 0x5d]))],
  'frame: text with an overlong encoding': [text(Buffer.from([0x34, 0xc0, 0xaf]))],
  'frame: half a surrogate in UTF-8': [text(Buffer.from([0x34, 0xed, 0xa0, 0x80]))],
  'frame: not masked': [text('421["echo"]', { masked: false })],
  'frame: reserved bit': [text('421["echo"]', { rsv: 4 })],
  'frame: reserved opcode': [frame(3, 'x')],
  'frame: reserved control opcode': [frame(0xb, 'x')],
  'frame: continuation of nothing': [frame(0, 'x')],
  'frame: message within a message': [text('42', { fin: false }), text('421["echo"]')],
  'frame: fragments': [text('42', { fin: false }), frame(0, '1["ec', { fin: false }), frame(0, 'ho"]')],
  'frame: a character cut in two': [text(Buffer.from([0x34, 0x32, 0x31, 0x5b, 0x22, 0x65, 0x63, 0x68, 0x6f, 0x22, 0x2c, 0x22, 0xc3]), { fin: false }),
    frame(0, Buffer.from([0xbc, 0x22, 0x5d]))],
  'frame: empty fragments': [text('', { fin: false }), frame(0, '', { fin: false }), frame(0, '421["echo"]')],
  'frame: a ping between fragments': [text('421[', { fin: false }), frame(9, 'hi'), frame(0, '"echo"]')],
  'frame: fragmented ping': [frame(9, 'x', { fin: false })],
  'frame: ping of 126 bytes': [frame(9, 'x'.repeat(126))],
  'frame: pong': [frame(0xa, 'x')],
  'frame: close without a code': [frame(8)],
  'frame: close with half a code': [frame(8, Buffer.from([3]))],
  'frame: close 1000': [frame(8, Buffer.from([3, 232]))],
  'frame: close 4000 with a reason': [frame(8, Buffer.from([0x0f, 0xa0, 0x68, 0x69]))],
  'frame: close 1005': [frame(8, Buffer.from([3, 237]))],
  'frame: close 999': [frame(8, Buffer.from([3, 231]))],
  'frame: close with a reason that is not UTF-8': [frame(8, Buffer.from([3, 232, 0xff]))],
  'frame: a packet behind a close': [frame(8, Buffer.from([3, 232])), text('421["echo"]')],
  'frame: over the size': [text('x'.repeat(1e6 + 1))],
  'frame: announces over the size': [text('4', { length: 1e6 + 1 })],
  'frame: announces 4 GB': [text('4', { length: 0xffffffff })],
  'frame: binary over the size': [frame(2, Buffer.alloc(1e6 + 1))],
  'frame: over the size in fragments': [text(`4${'x'.repeat(6e5)}`, { fin: false }), frame(0, 'x'.repeat(6e5))],
  'frame: announces too much in a fragment': [text('4', { fin: false }), frame(0, '', { length: 1e6 })],
};
for (const [name, frames] of Object.entries(FRAMES)) {
  same(name, async (twin, t) => {
    const wire = await Wire.open(twin, t);
    wire.send('40');
    await wire.settle();
    wire.ws.on('pong', (data) => wire.packets.push(`pong ${data}`));
    wire.write(...frames);
    await wire.settle();
    return wire.seen();
  });
}

same('the largest message', async (twin, t) => {
  const wire = await Wire.open(twin, t);
  wire.send('40');
  await wire.settle();
  const head = '421["echo","';
  wire.send(`${head}${'x'.repeat(1e6 - head.length - 2)}"]`);
  await wire.settle();
  return wire.seen().map((packet) => [packet.slice(0, 10), packet.length]);
});

// --- Polling

const POSTS = {
  'POST: only separators': ['', '', ''],
  'POST: not UTF-8': [Buffer.from([0x34, 0x32, 0x31, 0x5b, 0x22, 0x65, 0x63, 0x68, 0x6f, 0x22, 0x2c, 0x22, 0xff, 0x22, 0x5d])],
  'POST: HTML': ['<html>'],
  'POST: 10,000 packets': Array(10_000).fill('3'),
};
for (const [name, packets] of Object.entries(POSTS)) {
  same(name, async (twin) => {
    if (!Buffer.isBuffer(packets[0])) return exchange('40', ...packets)(twin);
    const poll = await Poll.open(twin);
    await poll.post('40');
    await poll.until((packet) => packet.startsWith('42["auth"'));
    const { status } = await poll.post(packets[0]);
    await poll.post('40/fence,');
    await poll.until((packet) => packet.startsWith('44/fence,'));
    return { status, seen: poll.seen() };
  });
}

const RAW = {
  'HTTP: a body of no announced length': (query) => `POST /socket.io/?${query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n2\r\n40\r\n0\r\n\r\n`,
  'HTTP: a body over the size, in chunks': (query) => `POST /socket.io/?${query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\nf4241\r\n${'4'.repeat(0xf4241)}\r\n0\r\n\r\n`,
  'HTTP: two lengths': (query) => `POST /socket.io/?${query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n40`,
  'HTTP: a sid with odd characters': () => 'GET /socket.io/?EIO=4&transport=polling&sid=%00%ff%0d%0a HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n',
};
for (const [name, bytes] of Object.entries(RAW)) {
  same(name, async (twin) => {
    const poll = await Poll.open(twin);
    const answer = await tcp(twin, bytes(poll.query));
    return Number(answer.match(/^HTTP\/1\.1 (\d+)/)?.[1]);
  });
}

// --- What the server says was the reason

const ENDS = {
  'reason: not a Socket.IO packet': (wire) => wire.send('4x'),
  'reason: reserved event': (wire) => wire.send('42["disconnect"]'),
  'reason: CONNECT twice': (wire) => wire.send('40'),
  'reason: event in a namespace not joined': (wire) => wire.send('42/custom,["echo"]'),
  'reason: not an Engine.IO packet': (wire) => wire.send('x'),
  'reason: a ping': (wire) => wire.send('2'),
  'reason: DISCONNECT': (wire) => wire.send('41'),
  'reason: close frame': (wire) => wire.ws.close(),
  'reason: TCP ends': (wire) => wire.ws._socket.destroy(),
  'reason: broken frame': (wire) => wire.write(frame(3, 'x')),
  'reason: too big': (wire) => wire.write(text('4', { length: 1e6 + 1 })),
  'reason: the server disconnects': (wire) => wire.send('42["leave me"]'),
  'reason: the server closes': (wire) => wire.send('42["close me"]'),
  'reason: no pong': (wire) => { wire.silent = true; },
};
for (const [name, end] of Object.entries(ENDS)) {
  same(name, async (twin, t) => {
    const [wire, witness] = [await Wire.open(twin, t), await Wire.open(twin, t)];
    wire.send('40');
    witness.send('40');
    await Promise.all([wire.settle(), witness.settle()]);
    const { sid } = JSON.parse(wire.packets[0].slice(2));
    assert.ok(sid);
    end(wire);
    return until(async () => {
      witness.packets = [];
      witness.send(`421["reason","${sid}"]`);
      await witness.settle();
      const [[reason]] = witness.packets.map((packet) => JSON.parse(packet.slice(3)));
      return reason;
    }, 'a reason');
  });
}
