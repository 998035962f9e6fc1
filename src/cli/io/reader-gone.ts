/**
 * Detects that nobody reads our output any more. Only a write shows that in Node: a program with nothing to print for
 * hours would outlive the `head` it is piped to by hours. GNU tail watches its output even when it has nothing to
 * print, so one is started with our output as its own. Where there is no such tail, the next write shows it, as before.
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
