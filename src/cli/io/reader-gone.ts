/**
 * Whether anybody still reads what we print. A write tells, and nothing else in Node does: a program that has nothing to
 * print for hours would stay for hours behind a `head` that is long gone. GNU tail looks at its output even when it has
 * nothing to print, and ours is lent to it. Where there is no such tail, the next write tells as before.
 */
import { spawn } from 'node:child_process';
import { fstatSync } from 'node:fs';
import { BrokenPipe } from './pump.ts';

const STDOUT = 1;
/** In case we are killed: it would keep our output open. */
const LOOK_AFTER_US = [`--pid=${process.pid}`, '--sleep-interval=1'];

/** A signal that aborts with BrokenPipe when the reader of our stdout goes away. Watches until disposed. */
export function readerGone(): Disposable & { signal: AbortSignal } {
  const gone = new AbortController();
  if (!fstatSync(STDOUT).isFIFO()) return { signal: gone.signal, [Symbol.dispose]: () => undefined };
  const watcher = spawn('tail', [...LOOK_AFTER_US, '--follow', '/dev/null'], { stdio: ['ignore', STDOUT, 'ignore'] });
  watcher.on('error', () => undefined);
  watcher.on('exit', (_code, signal) => {
    if (signal === 'SIGPIPE') gone.abort(new BrokenPipe());
  });
  watcher.unref();
  return { signal: gone.signal, [Symbol.dispose]: () => void watcher.kill() };
}
