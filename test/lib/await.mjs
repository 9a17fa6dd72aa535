// Waiting with a deadline: for a promise, or for a condition. Nothing here sleeps and hopes.
import { setTimeout as sleep } from 'node:timers/promises';

/** The deadline of one step, ms. Generous for a busy machine: a passing test never waits for it. */
const DEADLINE = 10_000;

/** Settles as promise does, or rejects once ms have passed; what names the missing thing, or a function asked then. */
export async function within(promise, what, ms = DEADLINE) {
  const timer = new AbortController();
  const deadline = sleep(ms, undefined, { signal: timer.signal }).then(
    () => { throw late(ms, what); },
    () => {},
  );
  try {
    return await Promise.race([promise, deadline]);
  } finally {
    timer.abort();
  }
}

/** Resolves with the first truthy value of condition, which may be async; otherwise as within. */
export async function until(condition, what, ms = DEADLINE) {
  const end = performance.now() + ms;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (performance.now() > end) throw late(ms, what);
    await sleep(5);
  }
}

function late(ms, what) {
  return new Error(`waited ${ms} ms for ${typeof what === 'function' ? what() : what}`);
}
