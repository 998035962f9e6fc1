/** Aborts work that makes too little progress while others wait for its turn. */
import { Linked } from '../../src/lib/deadline.ts';

interface ProgressOptions {
  everyMs: number;
  /** Measures progress. Calls never overlap; errors are ignored. */
  look: () => Promise<number>;
  /** Least progress within `withinMs`. */
  least: number;
  withinMs: number;
  /** The abort reason when progress is too small. */
  stalled: () => Error;
  signal: AbortSignal | undefined;
}

/** @throws what `work` throws. */
export async function whileProgressing<T>(
  options: ProgressOptions,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { signal, everyMs, look, least, withinMs, stalled } = options;
  using linked = new Linked({ signal });
  let mark = { at: performance.now(), amount: 0 };
  let looking = false;
  const timer = setInterval(() => {
    if (looking) return;
    looking = true;
    look()
      .then((amount) => {
        const at = performance.now();
        // Less than before: a partial download was restarted.
        if (amount >= mark.amount + least || amount < mark.amount) mark = { at, amount };
        else if (at - mark.at > withinMs) linked.abort(stalled());
      })
      .catch(() => undefined)
      .finally(() => (looking = false));
  }, everyMs);
  try {
    return await work(linked.signal);
  } finally {
    clearInterval(timer);
  }
}
