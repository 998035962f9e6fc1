/** Forwards signals to the command, and exits when it ignores them. */
import type { SignalName } from '../../protocol/exec.ts';
import { exitCodeOfSignal } from './exit-code.ts';
import { describeFailure } from './failure.ts';

const FORWARDED = ['INT', 'TERM', 'HUP', 'QUIT', 'USR1', 'USR2'] as const satisfies SignalName[];
/** After this many interrupts the command is killed and we exit. */
const IMPATIENT = 3;
/** Time for the kill to be sent. */
const LAST_WORD_MS = 500;

const ENDING = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;
export type EndSignal = (typeof ENDING)[number];

interface Signalled {
  /** Resolves once the command runs. */
  started: Promise<unknown>;
  signal(name: SignalName): void;
  kill(): void;
}

export interface Forwarding extends Disposable {
  /** This process's exit code, once a signal ends it together with the command. */
  readonly leaving: number | undefined;
}

/**
 * Forwards signals to the command until disposed. The third interrupt kills it and ends this process. A command that
 * does not run yet, as while its sandbox or the service is awaited, never will: the first signal ends the wait.
 */
export function forwardSignals(command: Signalled): Forwarding {
  let runs = false;
  let leaving: number | undefined;
  let interrupts = 0;
  command.started.then(
    () => (runs = true),
    () => undefined,
  );
  const handlers = FORWARDED.map((name) => {
    const signal = `SIG${name}` as const;
    return on(signal, () => {
      const enough = name === 'INT' && ++interrupts >= IMPATIENT;
      if (!enough && (runs || !isEnd(signal))) return pass(command, name);
      const code = (leaving = exitCodeOfSignal(signal));
      command.kill();
      setTimeout(() => process.exit(code), LAST_WORD_MS);
    });
  });
  return {
    get leaving() {
      return leaving;
    },
    [Symbol.dispose]: () => handlers.forEach((off) => off()),
  };
}

/** Without a WebSocket it cannot be forwarded: the command runs on, and the user is told. */
function pass(command: Signalled, name: SignalName): void {
  try {
    command.signal(name);
  } catch (error) {
    process.stderr.write(`millibox: ${describeFailure(error)}\n`);
  }
}

const isEnd = (signal: NodeJS.Signals): boolean => (ENDING as readonly NodeJS.Signals[]).includes(signal);

/** Resolves with the first signal that asks this process to end; it then has until disposal to clean up. */
export function awaitEndSignal(): Disposable & { signal: Promise<EndSignal> } {
  const came = Promise.withResolvers<EndSignal>();
  const handlers = ENDING.map((signal) => on(signal, () => came.resolve(signal)));
  return { signal: came.promise, [Symbol.dispose]: () => handlers.forEach((off) => off()) };
}

function on(signal: NodeJS.Signals, handler: () => void): () => void {
  process.on(signal, handler);
  return () => void process.off(signal, handler);
}
