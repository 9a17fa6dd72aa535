// A checker's report as text: one line when all is well, the first cases with the client's history when not.
import { COUNTS } from './checker.mjs';

const SHOWN = 3; // cases

/** What expected does not allow; expected has the highest count of each, 0 where it says nothing. */
export function violations(sum, expected = {}) {
  return Object.keys(COUNTS)
    .filter((key) => key !== 'vanished' && sum[key] > (expected[key] ?? 0))
    .map((key) => `${key} ${sum[key]}: ${COUNTS[key]}`);
}

/** lost 0, duplicated 0, … */
export function summary(sum) {
  const faults = Object.keys(COUNTS).filter((key) => sum[key] > 0 || ['lost', 'duplicated', 'reordered', 'silent'].includes(key));
  return `${faults.map((key) => `${key} ${sum[key]}`).join(', ')}; ${sum.events} events received, `
    + `${sum.returns} returns, ${sum.recoveries} of them recovered`;
}

/** The clients with something to tell and the first cases, each with what happened around it. */
export function details({ clients }, { start = 0, kinds = Object.keys(COUNTS) } = {}) {
  const cases = clients.flatMap((client) => client.cases.filter(({ what }) => kinds.includes(what)).map((it) => ({ client, it })));
  const lines = [];
  for (const kind of kinds) {
    const some = cases.filter(({ it }) => it.what === kind);
    for (const { client, it } of some.slice(0, SHOWN)) lines.push(`${client.name}: ${describe(it)}`, ...history(client.record, it.index, start));
    if (some.length > SHOWN) lines.push(`… and ${some.length - SHOWN} more such cases (${kind})`);
  }
  const bad = clients.filter(({ counts }) => kinds.some((kind) => counts[kind] > 0));
  if (bad.length > 0) lines.push(`${bad.length} of ${clients.length} clients:`);
  for (const { name, counts } of bad.slice(0, 2 * SHOWN)) lines.push(`  ${name}: ${summary(counts)}`);
  if (bad.length > 2 * SHOWN) lines.push(`  … and ${bad.length - 2 * SHOWN} more`);
  return lines;
}

function describe({ what, photo, numbers, after, offset, afterOffset, vanished, told }) {
  if (what === 'unrecovered') return 'came back with recovered === false';
  if (what === 'stranded') return photo ? `is not subscribed to ${photo} or got nothing of it` : 'is not connected at the end';
  const place = `${photo} ${ranges(numbers)}`;
  switch (what) {
    case 'reordered': return afterOffset ? `${place}: offset ${offset} came after ${afterOffset}` : `${place} came after ${after}`;
    case 'duplicated': return `${place} came again`;
    case 'foreign': return `${place} is nothing it could expect`;
    default: return `${place} never came, ${told ? 'after a return with recovered === false' : 'silently'}${vanished ? '; no client has it' : ''}`;
  }
}

function ranges(numbers) {
  return numbers.length === 1 ? `number ${numbers[0]}` : `numbers ${numbers[0]} to ${numbers.at(-1)}`;
}

/** The connections of a client around an entry of its record, and the events next to it. */
function history(record, index, start) {
  const around = record.slice(Math.max(0, index - 2), index + 2).map((entry, i) => [Math.max(0, index - 2) + i, entry]);
  const turns = [...record.entries()].filter(([, { kind }]) => kind !== 'event' && kind !== 'subscribed');
  const before = turns.filter(([i]) => i <= index).slice(-4);
  const after = turns.filter(([i]) => i > index).slice(0, 2);
  const shown = new Map([...before, ...around, ...after].sort(([a], [b]) => a - b));
  return [...shown].map(([i, entry]) => `    ${i === index ? '>' : ' '} ${((entry.at - start) / 1000).toFixed(3).padStart(8)} s  ${line(entry)}`);
}

function line({ kind, recovered, replica, photo, number, offset, reason }) {
  switch (kind) {
    case 'connect': return `connected to ${replica ?? '?'}, recovered ${recovered}`;
    case 'disconnect': return `disconnected: ${reason}`;
    case 'refused': return `refused: ${reason}`;
    case 'subscribed': return `subscribed to ${photo}`;
    default: return `received ${photo} number ${number}${offset ? ` at ${offset}` : ''}`;
  }
}
