/** Signals that are meant for the command, and the way out when it does not care. */
import type { SignalName } from '../../protocol/exec.ts';
import { exitCodeOfSignal } from './exit-code.ts';

const FORWARDED = ['INT', 'TERM', 'HUP', 'QUIT', 'USR1', 'USR2'] as const satisfies SignalName[];
/** So many interrupts with no end of the command: it is killed, and we go. */
const IMPATIENT = 3;
/** Time for the kill to get away. */
const LAST_WORD_MS = 500;

const ENDING = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;
export type EndSignal = (typeof ENDING)[number];

/** Passes signals on to the command until disposed. The third interrupt kills it and ends this process. */
export function forwardSignals(command: { signal(name: SignalName): void; kill(): void }): Disposable {
  let interrupts = 0;
  const handlers = FORWARDED.map((name) => {
    const signal = `SIG${name}` as const;
    return on(signal, () => {
      if (name !== 'INT' || ++interrupts < IMPATIENT) return command.signal(name);
      command.kill();
      setTimeout(() => process.exit(exitCodeOfSignal(signal)), LAST_WORD_MS);
    });
  });
  return { [Symbol.dispose]: () => handlers.forEach((off) => off()) };
}

/** Resolves with the first signal to end this process, which has until it is disposed to put things in order. */
export function awaitEndSignal(): Disposable & { signal: Promise<EndSignal> } {
  const came = Promise.withResolvers<EndSignal>();
  const handlers = ENDING.map((signal) => on(signal, () => came.resolve(signal)));
  return { signal: came.promise, [Symbol.dispose]: () => handlers.forEach((off) => off()) };
}

function on(signal: NodeJS.Signals, handler: () => void): () => void {
  process.on(signal, handler);
  return () => void process.off(signal, handler);
}
