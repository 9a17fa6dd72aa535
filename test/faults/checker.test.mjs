// The checker is checked: a client that loses, doubles, reorders or recovers silently is always reported.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Random } from '../lib/random.mjs';
import { check, COUNTS, compareOffsets } from './checker.mjs';
import { details, summary, violations } from './report.mjs';

const PHOTO = 'photo-1';

/** Events 0..count-1 of each photo, sent at 100, 101, … */
function ledgers(count, photos = [PHOTO], unsure = []) {
  return new Map(photos.map((photo) => [photo, { sent: Array.from({ length: count }, (_, i) => 100 + i), unsure: new Set(unsure) }]));
}

/** A client by hand; its clock is where the ledger's is at the last number it received. */
class Model {
  record = [];
  at = 50;

  constructor(name = 'client', photos = [PHOTO]) {
    this.name = name;
    this.photos = photos;
    this.connect(false).subscribe();
  }

  connect(recovered, replica = 'A') {
    this.record.push({ at: this.at, kind: 'connect', recovered, replica });
    return this;
  }

  subscribe() {
    for (const photo of this.photos) this.record.push({ at: this.at, kind: 'subscribed', photo });
    return this;
  }

  disconnect(reason = 'transport close') {
    this.record.push({ at: this.at, kind: 'disconnect', reason });
    return this;
  }

  receive(...numbers) {
    return this.receiveOf(PHOTO, ...numbers);
  }

  receiveOf(photo, ...numbers) {
    for (const number of numbers) {
      this.at = Math.max(this.at, 100 + number + 0.5);
      this.record.push({ at: this.at, kind: 'event', photo, number, offset: `${1000 + number}-0` });
    }
    return this;
  }
}

/** The counts that are not 0, without events, returns and recoveries. */
function faults(client, books = ledgers(6), options = {}) {
  const { sum } = check(books, [client, ...options.others ?? []], options);
  return Object.fromEntries(Object.keys(COUNTS).filter((key) => sum[key] > 0).map((key) => [key, sum[key]]));
}

const witness = () => new Model('witness').receive(0, 1, 2, 3, 4, 5);

describe('a client without fault', () => {
  test('stays connected', () => {
    assert.deepEqual(faults(new Model().receive(0, 1, 2, 3, 4, 5)), {});
  });

  test('recovers', () => {
    const client = new Model().receive(0, 1).disconnect().connect(true, 'B').receive(2, 3).disconnect().connect(true).receive(4, 5);
    assert.deepEqual(faults(client), {});
    const { sum } = check(ledgers(6), [client]);
    assert.deepEqual([sum.events, sum.returns, sum.recoveries], [6, 2, 2]);
  });

  test('may or may not have what its publisher is unsure of', () => {
    const books = ledgers(6, [PHOTO], [3, 5]);
    assert.deepEqual(faults(new Model().receive(0, 1, 2, 4), books), {});
    assert.deepEqual(faults(new Model().receive(0, 1, 2, 3, 4, 5), books), {});
  });

  test('is owed nothing from before it subscribed', () => {
    const late = new Model();
    late.record.forEach((entry) => { entry.at = 102.2; });
    late.receive(3, 4, 5);
    assert.deepEqual(faults(late, ledgers(6), { others: [witness()] }), {});
  });
});

describe('a fault is reported', () => {
  const CASES = [
    ['one event lost while connected', (c) => c.receive(0, 1, 3, 4, 5), { lost: 1, silent: 1 }],
    ['the first lost', (c) => c.receive(1, 2, 3, 4, 5), { lost: 1, silent: 1 }],
    ['the last lost', (c) => c.receive(0, 1, 2, 3, 4), { lost: 1, silent: 1 }],
    ['several lost', (c) => c.receive(0, 4), { lost: 4, silent: 4 }],
    ['one doubled', (c) => c.receive(0, 1, 1, 2, 3, 4, 5), { duplicated: 1 }],
    ['one doubled later', (c) => c.receive(0, 1, 2, 3, 4, 5, 0), { duplicated: 1 }],
    ['two reordered', (c) => c.receive(0, 2, 1, 3, 4, 5), { reordered: 1 }],
    ['one late', (c) => c.receive(1, 2, 3, 4, 5, 0), { reordered: 1 }],
    ['a gap after a recovery', (c) => c.receive(0, 1).disconnect().connect(true).receive(3, 4, 5), { lost: 1, silent: 1 }],
    ['nothing after a recovery', (c) => c.receive(0, 1).disconnect().connect(true), { lost: 4, silent: 4 }],
    ['one doubled by a recovery', (c) => c.receive(0, 1).disconnect().connect(true).receive(1, 2, 3, 4, 5), { duplicated: 1 }],
    ['a recovery after live events', (c) => c.receive(0, 1).disconnect().connect(true).receive(4, 2, 3, 5), { reordered: 2 }],
    ['a gap before an unrecovered return', (c) => c.receive(0, 2).disconnect().connect(false).subscribe().receive(3, 4, 5), { lost: 1, silent: 1, unrecovered: 1 }],
    ['a gap that an unrecovered return tells of', (c) => c.receive(0, 1).disconnect().connect(false).receive(4, 5), { lost: 2, unrecovered: 1 }],
    ['an unrecovered return without a gap', (c) => c.receive(0, 1).disconnect().connect(false).subscribe().receive(2, 3, 4, 5), { unrecovered: 1 }],
    ['one doubled after an unrecovered return', (c) => c.receive(0, 1).disconnect().connect(false).subscribe().receive(1, 2, 3, 4, 5), { duplicated: 1, unrecovered: 1 }],
    ['a gap at the next, recovered return', (c) => c.receive(0).disconnect().connect(false).receive(2).disconnect().connect(true).receive(4, 5), { lost: 2, silent: 1, unrecovered: 1 }],
    ['a client that does not come back', (c) => c.receive(0, 1, 2, 3, 4, 5).disconnect(), { stranded: 1 }],
    ['a client that does not subscribe again', (c) => c.receive(0, 1).disconnect().connect(false), { lost: 4, unrecovered: 1, stranded: 1 }],
    ['a client that never hears anything', (c) => c, { lost: 6, silent: 6, stranded: 1 }],
    ['a number nobody published', (c) => c.receive(0, 1, 2, 3, 4, 5, 6), { foreign: 1 }],
    ['a photo it did not ask for', (c) => c.receive(0, 1, 2, 3, 4, 5).receiveOf('photo-2', 0), { foreign: 1 }],
    ['a number that is none', (c) => c.receive(0, 1, 2, 3, 4, 5).receiveOf(PHOTO, undefined), { foreign: 1 }],
  ];
  for (const [name, act, want] of CASES) {
    test(name, () => {
      const client = new Model();
      act(client);
      assert.deepEqual(faults(client, ledgers(6, [PHOTO, 'photo-2']), { others: [witness()] }), want);
    });
  }

  test('a loss that began after the new subscription is silent, whatever was told before', () => {
    const client = new Model().receive(0, 1).disconnect().connect(false).subscribe(); // at 101.5: 2 is not yet sent
    assert.deepEqual(faults(client.receive(3, 4, 5), ledgers(6), { others: [witness()] }), { lost: 1, silent: 1, unrecovered: 1 });
  });

  test('photos in another order than the log has', () => {
    const client = new Model('client', [PHOTO, 'photo-2']);
    client.receive(0, 1, 2, 3, 4, 5).receiveOf('photo-2', 0, 1, 2, 3, 4, 5);
    assert.deepEqual(faults(client, ledgers(6, [PHOTO, 'photo-2'])), { reordered: 6 });
  });

  test('no client has it: silent, unless Redis forgot it', () => {
    const both = () => [new Model('a').receive(0, 1, 3, 4, 5), new Model('b').receive(0, 1, 3, 4, 5)];
    const counts = (clients, numbers) => {
      const { lost, silent, vanished } = check(ledgers(6), clients, { forgotten: new Map([[PHOTO, new Set(numbers)]]) }).sum;
      return { lost, silent, vanished };
    };
    assert.deepEqual(counts(both(), []), { lost: 2, silent: 2, vanished: 1 });
    assert.deepEqual(counts(both(), [2]), { lost: 2, silent: 0, vanished: 1 });
    assert.deepEqual(counts(both(), [3]), { lost: 2, silent: 2, vanished: 1 });
    assert.deepEqual(counts([both()[0], witness()], [2]), { lost: 1, silent: 1, vanished: 0 }); // the other has it
  });
});

describe('random runs', () => {
  /** A faultless history with returns at random, and the positions of its events. */
  function history(random, count) {
    const client = new Model();
    for (let n = 0; n < count; n += 1) {
      if (random.next() < 0.1) client.disconnect().connect(true, random.pick(['A', 'B', 'C']));
      client.receive(n);
    }
    return client;
  }

  const events = (client) => [...client.record.keys()].filter((i) => client.record[i].kind === 'event');

  const HARM = {
    lost: (client, i) => client.record.splice(i, 1),
    duplicated: (client, i, random) => client.record.splice(i + Math.floor(random.next() * (client.record.length - i)) + 1, 0, client.record[i]),
    reordered(client, i, random) { // one moves behind at least one later event
      const [entry] = client.record.splice(i, 1);
      const behind = events(client).filter((j) => j >= i);
      if (behind.length === 0) throw new Error('nothing to move behind');
      client.record.splice(random.pick(behind) + 1, 0, entry);
    },
  };

  for (const [kind, harm] of Object.entries(HARM)) {
    test(`one ${kind} event among hundreds is found, and nothing else`, () => {
      for (let seed = 1; seed <= 200; seed += 1) {
        const random = new Random(seed);
        const client = history(random, 300);
        assert.deepEqual(faults(client, ledgers(300)), {}, `seed ${seed}`);
        harm(client, random.pick(events(client).slice(0, -1)), random);
        const want = kind === 'lost' ? { lost: 1, silent: 1, vanished: 1 } : { [kind]: 1 };
        assert.deepEqual(faults(client, ledgers(300)), want, `seed ${seed}`);
      }
    });
  }
});

describe('the report', () => {
  test('names the client, the photo, the numbers and its connections', () => {
    const client = new Model('client-7').receive(0, 1).disconnect('transport error').connect(true, 'B').receive(4, 5);
    const report = check(ledgers(6), [witness(), client]);
    const text = details(report).join('\n');
    assert.match(text, /client-7: photo-1 numbers 2 to 3 never came, silently/);
    assert.match(text, /disconnected: transport error/);
    assert.match(text, /connected to B, recovered true/);
    assert.match(text, /> .*received photo-1 number 4 at 1004-0/);
    assert.match(text, /1 of 2 clients:\n {2}client-7: lost 2, duplicated 0, reordered 0, silent 2/);
    assert.match(summary(report.sum), /^lost 2, duplicated 0, reordered 0, silent 2; 10 events received, 1 returns, 1 of them recovered$/);
  });

  test('is not longer for thousands of cases', () => {
    const clients = Array.from({ length: 500 }, (_, i) => new Model(`client-${i}`).receive(0, 0, 2, 4, 5));
    assert.ok(details(check(ledgers(6), [witness(), ...clients])).length < 150);
  });

  test('says what is more than expected', () => {
    const { sum } = check(ledgers(6), [witness(), new Model().receive(0, 1).disconnect().connect(false).subscribe().receive(3, 4, 5, 5)]);
    assert.deepEqual(violations(sum).map((line) => line.split(':')[0]), ['lost 1', 'duplicated 1', 'silent 1', 'unrecovered 1']);
    assert.deepEqual(violations(sum, { lost: 1, duplicated: 1, silent: 1, unrecovered: Infinity }), []);
  });
});

test('offsets are compared as numbers', () => {
  assert.equal(compareOffsets('1000-2', '1000-10'), -1);
  assert.equal(compareOffsets('999-0', '1000-0'), -1);
  assert.equal(compareOffsets('18446744073709551615-1', '18446744073709551615-0'), 1);
  assert.equal(compareOffsets('5-5', '5-5'), 0);
});
