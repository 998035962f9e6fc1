/**
 * Empties one directory whenever it is told to, by one shell for the whole time: to start a process stops everything else
 * here for milliseconds, and sandboxes end all the time.
 */
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { readdirSync } from 'node:fs';
import type { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { sleep, withDeadline } from '../../../src/lib/deadline.ts';

/** It ends by itself when nobody can tell it anything any more. */
const SCRIPT = 'while read -r _; do rm -rf --one-file-system -- "$0"/*; echo; done';
const ROUND_MS = 10 * 60_000;
const MAX_TRIES = 5;
const PAUSE_MS = 100;

type Shell = ChildProcessByStdio<Writable, Readable, null>;

export class Undertaker {
  readonly #dir: string;
  #shell: Shell | undefined;
  #rounds: Promise<void> | undefined;
  #called = false;

  /** Of nothing whose name begins with a dot. */
  constructor(dir: string) {
    this.#dir = dir;
  }

  /** There is something in the directory. What cannot be removed stays for the next call. */
  call(): void {
    this.#called = true;
    this.#rounds ??= this.#work();
  }

  /** Resolves once everything that was there at the last call is gone, and the shell too. */
  async close(): Promise<void> {
    await this.#rounds;
    this.#end();
  }

  /** Never rejects. What the kernel is about to let go of is a matter of moments. */
  async #work(): Promise<void> {
    for (let tries = 1; this.#called || tries <= MAX_TRIES; tries += 1) {
      if (this.#called) tries = 1;
      this.#called = false;
      try {
        await withDeadline({ deadlineMs: ROUND_MS, what: 'the removal of what sandboxes left' }, () => this.#round());
        if (readdirSync(this.#dir).length === 0 && !this.#called) break;
      } catch {
        this.#end();
      }
      if (!this.#called) await sleep(PAUSE_MS);
    }
    this.#rounds = undefined;
  }

  async #round(): Promise<void> {
    const shell = (this.#shell ??= start(this.#dir));
    const over = Promise.withResolvers<void>();
    const died = (): void => over.reject(new Error('the shell has ended'));
    shell.stdout.once('data', over.resolve);
    shell.once('close', died);
    try {
      shell.stdin.write('\n');
      await over.promise;
    } finally {
      shell.stdout.off('data', over.resolve);
      shell.off('close', died);
    }
  }

  #end(): void {
    const shell = this.#shell;
    this.#shell = undefined;
    if (shell?.pid === undefined) return;
    try {
      process.kill(-shell.pid, 'SIGKILL');
    } catch {
      // Gone already.
    }
  }
}

function start(dir: string): Shell {
  const shell = spawn('/bin/sh', ['-c', SCRIPT, dir], {
    stdio: ['pipe', 'pipe', 'ignore'],
    // A group of its own: a terminal's Ctrl-C is for us, and the tool that it runs ends with it.
    detached: true,
    env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
  });
  shell.on('error', () => undefined);
  shell.stdin.on('error', () => undefined);
  // Nobody waits for it but who asks.
  shell.unref();
  for (const pipe of [shell.stdin, shell.stdout]) (pipe as Socket).unref();
  return shell;
}
