/** Signals that are meant for the command, and the way out when it does not care. */
import type { SignalName } from '../../protocol/exec.ts';

const FORWARDED = ['INT', 'TERM', 'HUP', 'QUIT', 'USR1', 'USR2'] as const satisfies SignalName[];
/** So many interrupts with no end of the command: we go. */
const IMPATIENT = 3;

/** Passes signals on until disposed. The third interrupt ends this process. */
export function forwardSignals(forward: (name: SignalName) => void): Disposable {
  let interrupts = 0;
  const handlers = FORWARDED.map((name) => {
    const signal = `SIG${name}` as const;
    const handler = (): void => {
      if (name === 'INT' && ++interrupts >= IMPATIENT) process.exit(128 + 2);
      forward(name);
    };
    process.on(signal, handler);
    return { signal, handler };
  });
  return {
    [Symbol.dispose]: () => {
      for (const { signal, handler } of handlers) process.off(signal, handler);
    },
  };
}
