// Judges a run from what was published and from what each client wrote down: nothing else is believed.
//
// A client's record is a list in the order things happened to it:
//   { at, kind: 'connect', recovered, replica }   it is connected; recovered as socket.io-client says
//   { at, kind: 'subscribed', photo }             the server has confirmed the subscription
//   { at, kind: 'event', photo, number, offset }  offset as it came, or undefined
//   { at, kind: 'disconnect', reason }, { at, kind: 'refused', reason }
// A ledger is what became of a photo's events: sent[n] is when number n was first attempted, and unsure holds those of
// which nobody knows whether they were published.

/** What is counted for each client and in sum. */
export const COUNTS = {
  lost: 'never arrived',
  duplicated: 'arrived again',
  reordered: 'arrived after a later one',
  silent: 'lost without a word: no return with recovered === false explains it',
  unrecovered: 'returns with recovered === false',
  stranded: 'clients that are not connected and subscribed at the end',
  foreign: 'arrived though nobody published or asked for it',
  vanished: 'lost to every client alike',
};

/**
 * Checks all clients, { name, photos, record }, against the ledgers, a Map of photo to { sent, unsure }.
 *
 * forgotten is a Map of photo to a Set of numbers that Redis confirmed and forgot with a failover. No server can know of
 * such an event: it is lost, but not silently as long as no other client has it.
 */
export function check(ledgers, clients, { forgotten = new Map() } = {}) {
  const reports = clients.map((client) => checkClient(client, ledgers));
  const got = new Map();
  for (const { tracks } of reports) {
    for (const [photo, { seen }] of tracks) {
      const all = got.get(photo) ?? new Set();
      seen.forEach((number) => all.add(number));
      got.set(photo, all);
    }
  }
  for (const report of reports) settle(report, got, forgotten);

  const sum = Object.fromEntries([...Object.keys(COUNTS), 'events', 'returns', 'recoveries'].map((key) => [
    key, reports.reduce((total, { counts }) => total + counts[key], 0),
  ]));
  sum.vanished = 0; // events, not what each client misses of them
  for (const [photo, { sent, unsure }] of ledgers) {
    const watched = got.get(photo);
    if (watched) sum.vanished += sent.filter((_, n) => !unsure.has(n) && !watched.has(n)).length;
  }
  return { sum, clients: reports };
}

/** What one client has got of one photo. */
class Track {
  seen = new Set();
  missing = new Map(); // number -> { told, index } of numbers below the highest
  high = -1;
  excuse = { until: Infinity }; // while it is there, what was sent before `until` may be missing
}

function checkClient(client, ledgers) {
  const report = { name: client.name, photos: client.photos, record: client.record, cases: [], tracks: new Map() };
  report.counts = Object.fromEntries([...Object.keys(COUNTS), 'events', 'returns', 'recoveries'].map((key) => [key, 0]));
  for (const photo of client.photos) report.tracks.set(photo, new Track());

  const state = { connected: false, returning: false, offset: undefined };
  client.record.forEach((entry, index) => {
    switch (entry.kind) {
      case 'connect': return connect(report, state, entry, index);
      case 'subscribed': return subscribed(report, entry);
      case 'event': return event(report, state, entry, index, ledgers.get(entry.photo));
      case 'disconnect': state.connected = false; return undefined;
      default: return undefined;
    }
  });

  const end = client.record.length;
  for (const [photo, track] of report.tracks) skip(track, ledgers.get(photo), ledgers.get(photo).sent.length, end);
  const waiting = [...report.tracks].filter(([, { excuse, seen }]) => excuse?.until === Infinity || seen.size === 0).map(([photo]) => photo);
  if (!state.connected || waiting.length > 0) note(report, 'stranded', end, { photo: waiting[0] });
  return report;
}

function connect(report, state, { recovered }, index) {
  if (state.returning) report.counts.returns += 1;
  if (state.returning && recovered) report.counts.recoveries += 1;
  if (state.returning && !recovered) note(report, 'unrecovered', index);
  if (!recovered) {
    for (const track of report.tracks.values()) track.excuse = { until: Infinity, first: !state.returning };
  }
  state.connected = true;
  state.returning = true;
}

/** What is sent from here on must arrive. */
function subscribed(report, { photo, at }) {
  const { excuse } = report.tracks.get(photo) ?? {};
  if (excuse?.until === Infinity) excuse.until = at;
}

function event(report, state, { photo, number, offset }, index, ledger) {
  report.counts.events += 1;
  const track = report.tracks.get(photo);
  if (!track || !(number >= 0 && number < ledger.sent.length)) return note(report, 'foreign', index, { photo, numbers: [number] });
  if (track.seen.has(number)) return note(report, 'duplicated', index, { photo, numbers: [number] });
  track.seen.add(number);
  if (number < track.high) {
    track.missing.delete(number);
    return note(report, 'reordered', index, { photo, numbers: [number], after: track.high });
  }
  skip(track, ledger, number, index);
  track.high = number;
  track.excuse = undefined;
  // The log has one order for all photos, and offsets are places in it.
  if (offset !== undefined && state.offset !== undefined && compareOffsets(offset, state.offset) <= 0) {
    note(report, 'reordered', index, { photo, numbers: [number], offset, afterOffset: state.offset });
  } else {
    state.offset = offset ?? state.offset;
  }
  return undefined;
}

/** Notes that the numbers between the highest and next did not come, up to the entry at index. */
function skip(track, ledger, next, index) {
  for (let n = track.high + 1; n < next; n += 1) {
    if (ledger.unsure.has(n)) continue;
    const excused = track.excuse !== undefined && ledger.sent[n] < track.excuse.until;
    if (excused && track.excuse.first) continue; // from before it first subscribed
    track.missing.set(n, { told: excused, index });
  }
}

/** Turns what is missing in the end into counts and cases, runs of numbers together. */
function settle(report, got, forgotten) {
  for (const [photo, { missing }] of report.tracks) {
    let run;
    for (const [number, { told, index }] of [...missing].sort(([a], [b]) => a - b)) {
      const vanished = !got.get(photo).has(number);
      const silent = !told && !(vanished && forgotten.get(photo)?.has(number));
      report.counts.lost += 1;
      if (vanished) report.counts.vanished += 1;
      if (silent) report.counts.silent += 1;
      const what = silent ? 'silent' : 'lost';
      if (run?.what === what && run.vanished === vanished && run.numbers.at(-1) === number - 1) {
        run.numbers.push(number);
      } else {
        run = { what, photo, numbers: [number], index, vanished, told };
        report.cases.push(run);
      }
    }
  }
  report.cases.sort((a, b) => a.index - b.index);
}

function note(report, what, index, details = {}) {
  report.counts[what] += 1;
  report.cases.push({ what, index, ...details });
}

/** Orders offsets, milliseconds and a sequence number, as the log does. */
export function compareOffsets(a, b) {
  const [ms, seq] = a.split('-').map(BigInt);
  const [otherMs, otherSeq] = b.split('-').map(BigInt);
  const order = ms === otherMs ? seq - otherSeq : ms - otherMs;
  return order < 0n ? -1 : Number(order > 0n);
}
