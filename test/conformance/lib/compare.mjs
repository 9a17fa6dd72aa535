// Runs a script against both servers and compares what it saw.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { differences } from '../differences.mjs';
import { twins } from './twins.mjs';

/**
 * A test that script, given a twin, resolves with the same for both. Where differences.mjs has an entry of the name, the
 * two answers must be those written there.
 */
export function same(name, script) {
  const difference = differences[name];
  test(difference ? `${name} (differs: ${difference.why})` : name, async (t) => {
    const [node, go] = await Promise.all([script(twins.node, t), script(twins.go, t)]);
    if (!difference) {
      assert.deepEqual(go, node, 'ours, and the official server\'s answer');
      return;
    }
    assert.deepEqual(node, difference.node, 'the official server');
    assert.deepEqual(go, difference.go, 'ours');
    assert.notDeepEqual(go, node, 'there is no difference any more');
  });
}
