// Runs fault scenarios and fails unless no event was lost, doubled or reordered.
//
//   node faults/run.mjs [SCENARIO…] [--mode durable|plain|wait] [--long] [--seed N] [--jobs N] [--logs DIR]
//                       [--clients N] [--rate N] [--replicas N] [--direct] [--list]
//
// Without a scenario it runs all of them. The seed is printed; given again it repeats what is random here.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { within } from '../lib/await.mjs';
import { details, summary, violations } from './report.mjs';
import { runs } from './scenarios.mjs';
import { Site } from './site.mjs';

const LIMIT = { start: 120_000, short: 150_000, long: 300_000 }; // ms of a run's start, and of what it does

const { values: flags, positionals: names } = parseArgs({
  allowPositionals: true,
  options: {
    mode: { type: 'string' }, seed: { type: 'string' }, jobs: { type: 'string', default: '1' }, logs: { type: 'string' },
    clients: { type: 'string' }, rate: { type: 'string' }, replicas: { type: 'string' },
    long: { type: 'boolean', default: false }, direct: { type: 'boolean', default: false }, list: { type: 'boolean', default: false },
  },
});

const all = runs(flags);
for (const name of names) if (!all.some((run) => run.name === name)) fail(`no scenario ${name}; there are ${[...new Set(all.map((run) => run.name))].join(', ')}`);
const chosen = all.filter(({ name, mode }) => (names.length === 0 || names.includes(name)) && (!flags.mode || flags.mode === mode));
if (chosen.length === 0) fail(`no such scenario is published in mode ${flags.mode}`);
if (flags.list) {
  for (const { name, mode, about } of chosen) console.log(`${name.padEnd(16)} ${mode.padEnd(8)} ${about}`);
  process.exit();
}

const seed = Number(flags.seed ?? Math.floor(Math.random() * 2 ** 31));
if (!Number.isInteger(seed)) fail(`--seed ${flags.seed}: want a whole number`);
const jobs = number('jobs');
const overrides = Object.fromEntries(['clients', 'rate', 'replicas'].filter((key) => flags[key]).map((key) => [key, number(key)]));
if (flags.direct) overrides.direct = true;

const length = flags.long ? 'long' : 'short';
const limit = LIMIT[length];
setTimeout(() => fail('the run does not end'), Math.ceil(chosen.length / jobs) * 2 * (limit + LIMIT.start)).unref(); // whatever hangs

console.log(`seed ${seed}, ${chosen.length} runs, ${length}`);
const start = performance.now();
const queue = [...chosen];
let failed = 0;
await Promise.all(Array.from({ length: jobs }, async () => {
  while (queue.length > 0) if (!(await one(queue.shift()))) failed += 1;
}));
console.log(`${chosen.length - failed} of ${chosen.length} runs passed in ${seconds(start)} s, seed ${seed}`);
process.exit(failed === 0 ? 0 : 1);

/** One run, from an empty Redis to the verdict; what it has to say is printed at once, so that two may run side by side. */
async function one({ name, mode, run, options, mayForget, expected }) {
  const begin = performance.now();
  const site = new Site({ ...options, ...overrides, seed });
  const errors = [];
  const attempt = (what, step, ms) => within(step, what, ms).then(() => true, (error) => {
    errors.push(error.message);
    return false;
  });
  let report;
  if (await attempt('everything to start', site.open().then(() => site.warmUp()), LIMIT.start)) {
    await attempt(`${name} to end`, run(site), limit);
    await attempt('the end', site.drain(), LIMIT.start + limit); // whatever came of the scenario, what happened so far is judged
    await attempt('the verdict', site.judge({ mayForget }).then((judged) => { report = judged; }), LIMIT.start);
  }
  await site.close();
  const wrong = report ? violations(report.sum, expected) : [];
  const passed = errors.length === 0 && report !== undefined && wrong.length === 0;
  const lines = [`${passed ? 'pass' : 'FAIL'}  ${name}, ${mode}: ${figures(site, report)}; ${seconds(begin)} s`];
  lines.push(...site.notes.map((note) => `      ${note}`));
  lines.push(...errors.map((error) => `      ${error}`));
  if (!passed && report) {
    lines.push(...wrong.map((line) => `      ${line}`));
    const kinds = wrong.map((line) => line.split(' ')[0]);
    lines.push(...details(report, { start: site.start, kinds }).map((line) => `        ${line}`));
    lines.push(`        replicas: ${site.replicas.map((replica) => `${replica.name} ${replica.url}`).join(', ')}`);
    lines.push(`        again: node faults/run.mjs ${name} --mode ${mode} --seed ${seed}${flags.long ? ' --long' : ''}`);
  }
  console.log(lines.join('\n'));
  if (flags.logs) keepLogs(`${name}-${mode}-${seed}`, site);
  return passed;
}

function figures(site, report) {
  const { watchers, publishers, published } = site;
  const retried = publishers.reduce((sum, publisher) => sum + publisher.retried, 0);
  const slowest = Math.max(0, ...publishers.map((publisher) => publisher.slowest));
  const unsure = publishers.reduce((sum, { ledgers }) => [...ledgers.values()].reduce((some, ledger) => some + ledger.unsure.size, sum), 0);
  const sent = `${watchers.length} clients, ${published} published`
    + `${retried > 0 ? ` (${retried} retries, slowest ${Math.round(slowest)} ms)` : ''}${unsure > 0 ? `, ${unsure} not confirmed` : ''}`;
  return report ? `${summary(report.sum)}; ${sent}` : sent;
}

function keepLogs(name, { replicas }) {
  mkdirSync(flags.logs, { recursive: true });
  for (const replica of replicas) writeFileSync(join(flags.logs, `${name}-${replica.name}.log`), replica.log);
}

function number(name) {
  const value = Number(flags[name]);
  if (!Number.isInteger(value) || value < 1) fail(`--${name} ${flags[name]}: want a whole number`);
  return value;
}

function seconds(since) {
  return ((performance.now() - since) / 1000).toFixed(1);
}

function fail(message) {
  console.error(message);
  process.exit(1);
}
