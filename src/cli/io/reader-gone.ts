/**
 * Detects that nobody reads our output any more. Only a write shows that in Node: a program with nothing to print for
 * hours would outlive the `head` it is piped to by hours. GNU tail watches its output even when it has nothing to
 * print, so one is started with our output as its own. Where there is no such tail, the next write shows it, as before.
 */
import { spawn } from 'node:child_process';
import { fstatSync } from 'node:fs';
import type { Socket } from 'node:net';
import { exitCodeOfSignal } from './exit-code.ts';
import { BrokenPipe } from './pump.ts';

const STDOUT = 1;
/** Of the shell: a pipe that ends when we do. */
const OUR_LIFE = 3;
/**
 * The tail ends as soon as we do, however that happens: it would keep our output open. Its `--pid` does not do that for
 * a program that was killed and that its parent has not waited for, such as one that reads our output to its end first.
 */
const WATCH = [
  'tail --follow /dev/null & tail=$!',
  `{ read -r _; kill $tail; } <&${OUR_LIFE} >&2 & life=$!`,
  'wait $tail; code=$?; kill $life; exit $code',
].join('\n');

/** A signal that aborts with BrokenPipe when the reader of our stdout goes away. Watches until disposed. */
export function readerGone(): Disposable & { signal: AbortSignal } {
  const gone = new AbortController();
  if (!fstatSync(STDOUT).isFIFO()) return { signal: gone.signal, [Symbol.dispose]: () => undefined };
  const watcher = spawn('sh', ['-c', WATCH], { stdio: ['ignore', STDOUT, 'ignore', 'pipe'] });
  const life = watcher.stdio[OUR_LIFE] as Socket;
  life.on('error', () => undefined);
  watcher.on('error', () => undefined);
  watcher.on('exit', (code) => {
    if (code === exitCodeOfSignal('SIGPIPE')) gone.abort(new BrokenPipe());
  });
  watcher.unref();
  life.unref();
  return { signal: gone.signal, [Symbol.dispose]: () => void life.destroy() };
}
