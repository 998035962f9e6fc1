/** Work that is looked at, again and again, and ended when it does not come on: it has a turn that others wait for. */
import { Linked } from '../../src/lib/deadline.ts';

interface ProgressOptions {
  everyMs: number;
  /** How far it is. Called one at a time; what it throws is no reason to end. */
  look: () => Promise<number>;
  /** It has to come on by so much, */
  least: number;
  /** within this time, */
  withinMs: number;
  /** or its signal fires with this. */
  stalled: () => Error;
  signal: AbortSignal | undefined;
}

/** @throws what `work` throws. */
export async function whileProgressing<T>(options: ProgressOptions, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
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
        // Less than before: what was half there is fetched anew.
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
