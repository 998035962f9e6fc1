/** Signals that are meant for the command, and the way out when it ignores them. */
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
  /** Resolves when the command runs. */
  started: Promise<unknown>;
  signal(name: SignalName): void;
  kill(): void;
}

export interface Forwarding extends Disposable {
  /** The exit code of this process, once a signal ends it and the command with it. */
  readonly leaving: number | undefined;
}

/**
 * Passes signals on to the command until disposed. The third interrupt kills it and ends this process. A command that does
 * not run yet, as its sandbox or the service is still waited for, never does: the first signal ends the wait.
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

/** Where no WebSocket gets through it cannot be passed on: the command goes on, and the user is told. */
function pass(command: Signalled, name: SignalName): void {
  try {
    command.signal(name);
  } catch (error) {
    process.stderr.write(`millibox: ${describeFailure(error)}\n`);
  }
}

const isEnd = (signal: NodeJS.Signals): boolean => (ENDING as readonly NodeJS.Signals[]).includes(signal);

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
