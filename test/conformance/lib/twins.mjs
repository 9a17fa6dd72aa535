// The official server and ours, doing the same.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { after, before } from 'node:test';
import { until } from '../../lib/await.mjs';
import { Program } from '../../lib/process.mjs';

const file = (path) => fileURLToPath(new URL(path, import.meta.url));

/** { node, go }: where each listens, once the tests of the file run. */
export const twins = { node: {}, go: {} };

const dir = mkdtempSync(join(tmpdir(), 'conformance-'));
process.on('exit', () => rmSync(dir, { recursive: true, force: true }));

before(async () => {
  const binary = join(dir, 'server');
  execFileSync('go', ['build', '-o', binary, '.'], { cwd: file('../server'), stdio: 'inherit' });
  await Promise.all([
    start('node', process.execPath, [file('../reference.mjs')]),
    start('go', binary, []),
  ]);
});

after(async () => {
  for (const { program } of Object.values(twins)) {
    if (program?.end) throw new Error(`${program.name} ended by itself: ${JSON.stringify(program.end)}\n${program.stderr}`);
    await program?.stop();
  }
});

async function start(name, command, args) {
  const program = new Program(command, args);
  twins[name].program = program;
  twins[name].name = name;
  const port = await until(() => {
    if (program.end) throw new Error(`${program.name} ended: ${JSON.stringify(program.end)}\n${program.stderr}`);
    return program.stdout.match(/^listening (\d+)$/m)?.[1];
  }, () => `${name} to listen\n${program.stderr}`);
  twins[name].port = Number(port);
  twins[name].url = `http://127.0.0.1:${port}`;
}
