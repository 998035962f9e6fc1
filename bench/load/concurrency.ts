/** Ways to run many calls: interleaved, in a closed loop, or with bounded concurrency. */

/**
 * Runs the lanes' calls in turn, one at a time, so that a drift of the machine affects all of them alike. The order
 * rotates by one each round, so that it is not always the same lane that runs after a heavy one. A lane with `every`
 * takes part only in every nth round.
 */
export async function interleave(
  rounds: number,
  lanes: readonly { every?: number; run: (round: number) => Promise<void> }[],
): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < lanes.length; i++) {
      const lane = lanes[(round + i) % lanes.length];
      if (lane !== undefined && round % (lane.every ?? 1) === 0) await lane.run(round);
    }
  }
}

/** A closed loop: `workers` callers, each with one call in flight, until time is up. Returns the elapsed time. */
export async function closedLoop(
  workers: number,
  ms: number,
  call: (worker: number) => Promise<void>,
): Promise<number> {
  const start = performance.now();
  const worker = async (index: number): Promise<void> => {
    while (performance.now() - start < ms) await call(index);
  };
  await Promise.all(Array.from({ length: workers }, (_, index) => worker(index)));
  return performance.now() - start;
}

/** Runs `call` for 0..n-1, at most `width` at a time. Calls must handle their own failures. */
export async function spread(n: number, width: number, call: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < n) await call(next++);
  };
  await Promise.all(Array.from({ length: Math.min(n, width) }, worker));
}
