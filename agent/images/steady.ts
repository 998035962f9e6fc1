/** Work that is looked at, again and again, and ended when it does not come on: it has a turn that others wait for. */

export interface SteadyOptions {
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
export async function whileItComesOn<T>(options: SteadyOptions, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const { signal, everyMs, look, least, withinMs, stalled } = options;
  const abort = new AbortController();
  const follow = (): void => abort.abort(signal?.reason);
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
        else if (at - mark.at > withinMs) abort.abort(stalled());
      })
      .catch(() => undefined)
      .finally(() => (looking = false));
  }, everyMs);
  if (signal?.aborted) follow();
  else signal?.addEventListener('abort', follow, { once: true });
  try {
    return await work(abort.signal);
  } finally {
    clearInterval(timer);
    signal?.removeEventListener('abort', follow);
  }
}
