// One listener for each AbortSignal, however many calls it is for: of more than a few, Node warns.
'use strict';

const known = new WeakMap(); // signal -> the functions to call

/** Calls a function when the signal is aborted, unless the function that is returned is called before. */
function onAbort(signal, call) {
  if (!known.has(signal)) {
    const calls = new Set();
    known.set(signal, calls);
    calls.heard = () => { for (const each of [...calls]) each(); };
  }
  const calls = known.get(signal);
  if (calls.size === 0) signal.addEventListener('abort', calls.heard);
  calls.add(call);
  return () => {
    if (calls.delete(call) && calls.size === 0) signal.removeEventListener('abort', calls.heard);
  };
}

module.exports = { onAbort };
