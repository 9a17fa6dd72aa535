// Takes down what a test set up, last first: node:test's own after hooks run first to last.

const stacks = new WeakMap(); // test -> functions

export function cleanup(t, undo) {
  if (!stacks.has(t)) {
    const stack = [];
    stacks.set(t, stack);
    t.after(async () => {
      while (stack.length > 0) await stack.pop()();
    });
  }
  stacks.get(t).push(undo);
}
