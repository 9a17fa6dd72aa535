// Child processes that never outlive the test file.
import { spawn } from 'node:child_process';
import { within } from './await.mjs';

const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1)); // a run cut short

/** A started program with what it wrote so far, and its end. */
export class Program {
  stdout = '';
  stderr = '';

  constructor(command, args, options) {
    this.name = [command, ...args].join(' ');
    this.child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    running.add(this.child);
    for (const stream of ['stdout', 'stderr']) {
      this.child[stream].setEncoding('utf8').on('data', (text) => { this[stream] += text; });
    }
    this.ended = new Promise((resolve) => {
      this.child.once('error', (error) => resolve({ error: error.message }));
      this.child.once('close', (code, signal) => resolve({ code, signal }));
    }).then((end) => {
      running.delete(this.child);
      this.end = end;
      return end;
    });
  }

  /** Sends a signal, by the process's own id. */
  signal(name) {
    this.child.kill(name);
  }

  /** Resolves with how it ended, { code, signal }; one that does not end is killed, and that is an error. */
  async exit() {
    try {
      return await within(this.ended, () => `the end of ${this.name}\n${this.stderr}`);
    } catch (error) {
      this.child.kill('SIGKILL');
      throw error;
    }
  }

  /** Asks it to end, and resolves as exit does. */
  stop(signal = 'SIGTERM') {
    this.child.kill('SIGCONT'); // a frozen process hears nothing else
    this.child.kill(signal);
    return this.exit();
  }
}
