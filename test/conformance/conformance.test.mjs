// What the Engine.IO 4 and Socket.IO 5 protocol documents say, asked of the official server and of ours.
import assert from 'node:assert/strict';
import { same } from './lib/compare.mjs';
import { exchange, Poll, request, tcp } from './lib/polling.mjs';
import { talk, Wire } from './lib/wire.mjs';
import { until } from '../lib/await.mjs';

const anonymous = ({ status, type, body }) => ({ status, type, body: body?.replace(/"sid":"[\w-]{20}"/, '"sid":"<id>"') });

// --- Engine.IO: handshake

const HANDSHAKES = {
  'handshake by polling': ['EIO=4&transport=polling'],
  'handshake with a polling timestamp': ['EIO=4&transport=polling&t=abc123'],
  'handshake without a transport': ['EIO=4'],
  'handshake with an unknown transport': ['EIO=4&transport=abc'],
  'handshake with an empty transport': ['EIO=4&transport='],
  'handshake with the transport named like a property': ['EIO=4&transport=__proto__'],
  'handshake without a protocol': ['transport=polling'],
  'handshake with protocol 3': ['EIO=3&transport=polling'],
  'handshake with protocol 5': ['EIO=5&transport=polling'],
  'handshake with protocol abc': ['EIO=abc&transport=polling'],
  'handshake with protocol 04': ['EIO=04&transport=polling'],
  'handshake with protocol and transport twice': ['EIO=4&EIO=4&transport=polling&transport=polling'],
  'handshake by POST': ['EIO=4&transport=polling', { method: 'POST', body: '40' }],
  'handshake by PUT': ['EIO=4&transport=polling', { method: 'PUT' }],
  'handshake by DELETE': ['EIO=4&transport=polling', { method: 'DELETE' }],
  'handshake by HEAD': ['EIO=4&transport=polling', { method: 'HEAD' }],
  'handshake by OPTIONS': ['EIO=4&transport=polling', { method: 'OPTIONS' }],
  'handshake for websocket without upgrade': ['EIO=4&transport=websocket'],
  'unknown sid by GET': ['EIO=4&transport=polling&sid=abc'],
  'unknown sid by POST': ['EIO=4&transport=polling&sid=abc', { method: 'POST', body: '40' }],
  'unknown sid that is a property': ['EIO=4&transport=polling&sid=__proto__'],
  'unknown sid and unknown transport': ['EIO=4&transport=abc&sid=abc'],
  'unknown sid and protocol 3': ['EIO=3&transport=polling&sid=abc'],
  'empty sid': ['EIO=4&transport=polling&sid='],
};
for (const [name, [query, options]] of Object.entries(HANDSHAKES)) {
  same(name, async (twin) => anonymous(await request(twin, query, options)));
}

same('handshake by websocket', async (twin, t) => {
  const wire = await Wire.open(twin, t, '&x');
  const open = await until(() => wire.packets.shift(), 'OPEN');
  return open.replace(/"sid":"[\w-]{20}"/, '"sid":"<id>"');
});

const upgrade = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' };
const UPGRADES = {
  'upgrade request for polling': ['EIO=4&transport=polling', upgrade],
  'upgrade request with unknown transport': ['EIO=4&transport=abc', upgrade],
  'upgrade request with protocol 3': ['EIO=3&transport=websocket', upgrade],
  'upgrade request without protocol': ['transport=websocket', upgrade],
  'upgrade request with unknown sid': ['EIO=4&transport=websocket&sid=abc', upgrade],
  'upgrade request without key': ['EIO=4&transport=websocket', { ...upgrade, 'sec-websocket-key': undefined }],
  'upgrade request with websocket version 8': ['EIO=4&transport=websocket', { ...upgrade, 'sec-websocket-version': '8' }],
  'upgrade request in capitals': ['EIO=4&transport=websocket', { ...upgrade, upgrade: 'WebSocket' }],
};
for (const [name, [query, headers]] of Object.entries(UPGRADES)) {
  same(name, async (twin) => {
    const defined = Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== undefined));
    const { status, body } = await request(twin, query, { headers: defined });
    return { status, body: body?.trim() };
  });
}

// --- Engine.IO: polling

const PAYLOADS = {
  'POST one packet': ['40'],
  'POST several packets': ['40', '42["echo",1]', '421["echo",2]'],
  'POST an event before CONNECT': ['42["echo",1]'],
  'POST an empty body': [''],
  'POST an empty packet after a good one': ['40', ''],
  'POST an unknown type': ['abc'],
  'POST an unknown type after a good one': ['40', '9'],
  'POST a ping': ['2'],
  'POST a pong that nobody asked for': ['3', '40'],
  'POST types that only servers send': ['0{}', '5', '6', '40'],
  'POST a close': ['40', '1'],
  'POST binary': ['40', '451-1["binary",{"_placeholder":true,"num":0}]', 'bAQIDBA=='],
  'POST binary without padding': ['40', '451-1["binary",{"_placeholder":true,"num":0}]', 'bAQIDBA'],
  'POST empty binary': ['40', '451-1["binary",{"_placeholder":true,"num":0}]', 'b'],
  'POST binary that is no base64': ['40', '451-1["binary",{"_placeholder":true,"num":0}]', 'b!!!'],
  'POST binary in URL-safe base64': ['40', '451-1["binary",{"_placeholder":true,"num":0}]', 'b_-8='],
  'POST text in many languages': ['40', '421["echo","ünï☃😀"]'],
};
for (const [name, packets] of Object.entries(PAYLOADS)) same(name, exchange(...packets));

same('POST as octet-stream', async (twin) => {
  const poll = await Poll.open(twin);
  const answer = await poll.post('40', { headers: { 'content-type': 'application/octet-stream' } });
  await poll.until(() => true);
  return { status: answer.status, seen: poll.seen() };
});

same('POST without a content type', async (twin) => {
  const poll = await Poll.open(twin);
  return (await poll.post('40', { headers: {} })).status;
});

for (const [name, size] of Object.entries({ 'POST of the largest size': 1e6, 'POST over the largest size': 1e6 + 1 })) {
  same(name, async (twin) => {
    const poll = await Poll.open(twin);
    await poll.post('40');
    const head = '42["echo",{"x":"';
    const { status } = await poll.post(`${head}${'x'.repeat(size - head.length - 3)}"}]`);
    await poll.post('40/fence,');
    await poll.until((packet) => packet.startsWith('44/fence,'));
    return { status, lengths: poll.seen().map((packet) => packet.length) };
  });
}

same('PUT with a sid', async (twin) => {
  const poll = await Poll.open(twin);
  return (await request(twin, poll.query, { method: 'PUT', body: '40' })).status;
});

same('GET with the sid of a polling session, as websocket', async (twin) => {
  const poll = await Poll.open(twin);
  return anonymous(await request(twin, poll.query.replace('transport=polling', 'transport=websocket')));
});

same('GET with another protocol than in the handshake', async (twin) => {
  const poll = await Poll.open(twin);
  return anonymous(await request(twin, poll.query.replace('EIO=4', 'EIO=3')));
});

same('two polls at once', async (twin) => {
  const poll = await Poll.open(twin);
  const answers = await Promise.all([poll.get(), poll.get()]);
  return [...answers, await poll.post('40')].map(anonymous).sort((x, y) => x.status - y.status);
});

same('a poll that is given up', async (twin) => {
  const poll = await Poll.open(twin);
  await tcp(twin, `GET /socket.io/?${poll.query} HTTP/1.1\r\nhost: x\r\n\r\n`, 20);
  // Until the end of the first poll is noticed, one more overlaps with it: that ends the session as well.
  return until(async () => {
    const answer = await poll.get();
    return answer.status !== 200 && answer.body !== '' && anonymous(answer);
  }, 'the session to be unknown');
});

same('two POSTs at once', async (twin) => {
  const poll = await Poll.open(twin);
  const head = `POST /socket.io/?${poll.query} HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: 100\r\n\r\n4`;
  const first = tcp(twin, head, 500);
  const { status } = await until(async () => {
    const answer = await poll.post('6'); // fine until the other one has begun
    return answer.status !== 200 && answer;
  }, 'a refusal');
  await first;
  return { status, after: anonymous(await poll.post('6')) };
});

same('close while a poll waits', (twin) => until(async () => {
  const poll = await Poll.open(twin);
  const waiting = poll.get();
  const { status } = await poll.post('1');
  const { status: waited, body } = await waiting;
  return waited === 200 && { status, body, after: anonymous(await poll.get()) }; // otherwise it came too late to wait
}, 'a poll that was there before'));

// --- Engine.IO: heartbeat

same('websocket: pings, and a client that answers stays', async (twin, t) => {
  const wire = await Wire.open(twin, t);
  wire.send('40');
  await until(() => wire.pings === 4, () => `4 pings, got ${wire.pings}`);
  await wire.settle();
  return wire.seen();
});

same('websocket: a client that does not answer is closed', async (twin, t) => {
  const wire = await Wire.open(twin, t);
  wire.silent = true;
  wire.send('40');
  const begin = performance.now();
  await wire.end();
  const time = performance.now() - begin;
  assert.ok(time > 1000 && time < 5000, `${twin.name} closed after ${time} ms, want 1300`);
  return [wire.pings, ...wire.seen()];
});

same('polling: a client that does not answer is closed', async (twin) => {
  const poll = await Poll.open(twin);
  const ping = await poll.get();
  const last = await poll.get();
  const after = await poll.get();
  return [anonymous(ping), anonymous(last), anonymous(after)];
});

// PUT asks whether there is a session, and is no sign of life.
const forgotten = (poll) => until(async () => (await request(poll.twin, poll.query, { method: 'PUT' })).status === 400, 'the end of a session');

same('polling: a client that does not answer and does not poll is forgotten', async (twin) => {
  const poll = await Poll.open(twin);
  await forgotten(poll);
  return anonymous(await poll.get());
});

same('polling: a client that breaks the protocol is forgotten', async (twin) => {
  const poll = await Poll.open(twin);
  const { status } = await poll.post('abc');
  return [status, anonymous(await poll.get())];
});

same('websocket: a client that sends but never answers is closed', async (twin, t) => {
  const wire = await Wire.open(twin, t);
  wire.silent = true;
  wire.send('40');
  await wire.settle();
  await until(() => {
    if (!wire.over) wire.send('42["nobody"]');
    return wire.over;
  }, 'the end');
  return wire.pings;
});

// --- Engine.IO: upgrade

async function probe(twin, t) {
  const poll = await Poll.open(twin);
  await poll.post('40');
  await poll.until((packet) => packet.startsWith('42["auth"'));
  const wire = await Wire.open(twin, t, `&sid=${poll.opened.sid}`);
  wire.send('2probe');
  await until(() => wire.packets.includes('3probe'), 'the answer to the probe');
  return { poll, wire };
}

same('upgrade', async (twin, t) => {
  const { poll, wire } = await probe(twin, t);
  const waiting = await poll.get();
  wire.send('5', '421["echo","over websocket"]');
  await wire.settle();
  const late = await poll.get();
  const lateToo = await poll.post('42["echo"]');
  return { seen: [...poll.seen(), ...wire.seen()], waiting: waiting.body.replace('2', '6'), late: anonymous(late), lateToo: anonymous(lateToo) };
});

same('upgrade that is given up', async (twin, t) => {
  const { poll, wire } = await probe(twin, t);
  wire.ws.close();
  await wire.end();
  const { status } = await poll.post('421["echo","still polling"]');
  await poll.until((packet) => packet.startsWith('431'));
  return { status, seen: poll.seen() };
});

same('upgrade with something else than a probe', async (twin, t) => {
  const poll = await Poll.open(twin);
  const wire = await Wire.open(twin, t, `&sid=${poll.opened.sid}`);
  wire.send('40');
  await wire.end();
  const { status } = await poll.post('40');
  await poll.until((packet) => packet.startsWith('42["auth"'));
  return { seen: [...wire.seen(), ...poll.seen()], status };
});

same('upgrade of a websocket', async (twin, t) => {
  const wire = await Wire.open(twin, t, '&x');
  const { sid } = JSON.parse((await until(() => wire.packets.shift(), 'OPEN')).slice(1));
  wire.send('40');
  const second = await Wire.open(twin, t, `&sid=${sid}`);
  await second.end();
  await wire.settle();
  return [second.seen(), wire.seen()];
});

same('two upgrades at once', async (twin, t) => {
  const { poll, wire } = await probe(twin, t);
  const second = await Wire.open(twin, t, `&sid=${poll.opened.sid}`);
  await second.end();
  wire.send('5', '421["echo",1]');
  await wire.settle();
  return [second.seen(), wire.seen()];
});

same('websocket: the client sends close', async (twin, t) => {
  const wire = await Wire.open(twin, t);
  wire.send('40');
  await wire.settle();
  wire.send('1');
  await wire.settle();
  return wire.seen();
});

// --- Socket.IO

const TALKS = {
  'CONNECT': ['0'],
  'CONNECT with auth': ['0{"token":"123"}'],
  'CONNECT with empty auth': ['0{}'],
  'CONNECT to a custom namespace': ['0/custom,'],
  'CONNECT to a custom namespace with auth': ['0/custom,{"token":"abc"}'],
  'CONNECT to a custom namespace without a comma': ['0/custom'],
  'CONNECT to an unknown namespace': ['0/random'],
  'CONNECT to several': ['0', '0/custom,', '0/random,'],
  'CONNECT to namespaces with odd names': ['0/a b/ü,', '0/a?b=c,', '2/a b/ü,1["echo",1]', '2/a?b=c,1["echo",1]'],
  'CONNECT without the token': ['0/auth,'],
  'CONNECT with a wrong token': ['0/auth,{"token":"bad"}', '0/auth,{"token":"good"}'],
  'event with ack': ['0', '2456["echo",1,"2",{"3":[true]}]'],
  'event without ack': ['0', '2["echo",1,"2",{"3":[true]}]'],
  'event without arguments': ['0', '21["echo"]', '2["echo"]'],
  'event in a custom namespace': ['0/custom,', '2/custom,456["echo",1]'],
  'event that nobody handles': ['0', '2["nobody"]', '21["nobody"]'],
  'event with id 0': ['0', '20["echo"]'],
  'binary both ways with ack': ['0', '51-789["binary",{"_placeholder":true,"num":0}]', Buffer.from([1, 2, 3, 4])],
  'binary both ways without ack': ['0', '51-["binary back",{"_placeholder":true,"num":0}]', Buffer.from([1, 2, 3, 4])],
  'binary, empty': ['0', '51-1["binary",{"_placeholder":true,"num":0}]', Buffer.alloc(0)],
  'binary in depth': ['0', '53-1["parcel",{"file":{"_placeholder":true,"num":2},"parts":[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}],"n":1}]',
    Buffer.from('a'), Buffer.from('b'), Buffer.from('c')],
  'DISCONNECT': ['0', '1'],
  'DISCONNECT and CONNECT again': ['0', '1', '0', '21["echo",1]'],
  'DISCONNECT from one of two namespaces': ['0', '0/custom,', '1/custom,', '21["echo",1]'],
  'server disconnects the namespace': ['0', '0/custom,', '2/custom,["leave me"]', '21["echo",1]'],
  'server disconnects the transport': ['0', '2["close me"]'],
  'rooms': ['0', '21["join","a"]', '22["rooms"]', '2["say","a",{"n":1}]', '23["leave","a"]', '2["say","a",{"n":2}]', '24["rooms"]'],
  'from a client to the others': ['0', '2["tell others",{"n":1}]'],
};
for (const [name, packets] of Object.entries(TALKS)) same(name, talk(...packets));

const ANSWERS = {
  'server asks with ack': (id) => [`43${id}["answer",{"a":1}]`, `43${id}["again"]`],
  'server asks, the answer is empty': (id) => [`43${id}[]`],
  'server asks, another question is answered': (id) => [`43${id}9["answer"]`, `43${id}["late"]`],
};
for (const [name, answers] of Object.entries(ANSWERS)) {
  same(name, async (twin, t) => {
    const wire = await Wire.open(twin, t);
    wire.send('40');
    await wire.settle();
    wire.send('42["ask",1]');
    const question = await until(() => wire.packets.find((packet) => packet.includes('question')), 'the question');
    const [, id] = question.match(/^42(\d+)\["question",1\]$/);
    wire.packets = [];
    wire.send(...answers(id));
    await wire.settle();
    return wire.seen();
  });
}

same('CONNECT never comes', async (twin, t) => {
  const wire = await Wire.open(twin, t);
  const begin = performance.now();
  await wire.end();
  const time = performance.now() - begin;
  assert.ok(time > 1500 && time < 6000, `${twin.name} closed after ${time} ms, want 2000`);
  return wire.seen();
});
