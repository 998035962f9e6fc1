/** Turns at what strangers can draw out: whoever is slow, or takes long, goes on beside the turns and keeps nobody waiting. */
import { Linked, orAbort } from '../../src/lib/deadline.ts';

const LOOK_EVERY_MS = 1_000;

export interface TurnRules {
  /** So many have a turn; the others wait in line. */
  atOnce: number;
  /** So many more go on without one. With no place left among them, the slowest of all ends: none that is not slow. */
  aside: number;
  /** Slow: fewer bytes than this for each second since its turn came. */
  slowBytesPerSecond: number;
  /** While others wait, one that is slow has its turn for so long, */
  slowMs: number;
  /** and any other for so long. */
  longMs: number;
}

interface TurnOptions {
  signal: AbortSignal | undefined;
  /** Why it ends when it is too slow to go on. */
  tooSlow: () => Error;
}

export interface Turn {
  /** Fires with that of the options, and with `tooSlow`. */
  readonly signal: AbortSignal;
  /** How many bytes it has brought so far, all told. Infinity: nobody else decides how fast they come. */
  brought(bytes: number): void;
}

export class Turns {
  readonly #rules: TurnRules;
  #free: number;
  readonly #line = new Set<() => void>();
  readonly #inTurn = new Set<Work>();
  readonly #aside = new Set<Work>();
  #looking: NodeJS.Timeout | undefined;

  constructor(rules: TurnRules) {
    this.#rules = rules;
    this.#free = rules.atOnce;
  }

  /**
   * Does `work` when its turn has come.
   * @throws what `work` throws; the signal's reason when it fires before the turn comes.
   */
  async take<T>(options: TurnOptions, work: (turn: Turn) => Promise<T>): Promise<T> {
    await this.#wait(options.signal);
    using mine = new Work(options);
    this.#inTurn.add(mine);
    try {
      return await work(mine);
    } finally {
      this.#leave(mine);
    }
  }

  async #wait(signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    if (this.#free > 0) {
      this.#free -= 1;
      return;
    }
    const turn = Promise.withResolvers<void>();
    const called = (): void => {
      this.#line.delete(called);
      turn.resolve();
    };
    this.#line.add(called);
    this.#looking ??= setInterval(() => this.#look(), LOOK_EVERY_MS);
    try {
      await orAbort(signal, turn.promise);
    } catch (error) {
      // A turn that came at the same moment goes to the next one.
      if (!this.#line.delete(called)) this.#pass();
      throw error;
    } finally {
      if (this.#line.size === 0) {
        clearInterval(this.#looking);
        this.#looking = undefined;
      }
    }
  }

  #pass(): void {
    const [next] = this.#line;
    if (next === undefined) this.#free += 1;
    else next();
  }

  #leave(work: Work): void {
    this.#aside.delete(work);
    if (this.#inTurn.delete(work)) this.#pass();
  }

  /** While others wait. */
  #look(): void {
    const { aside, slowBytesPerSecond, slowMs, longMs } = this.#rules;
    for (const work of this.#inTurn) {
      if (this.#line.size === 0) return;
      if (work.heldMs < (work.bytesPerSecond < slowBytesPerSecond ? slowMs : longMs)) continue;
      if (this.#aside.size >= aside) {
        const slowest = slowestOf([...this.#aside, work]);
        // Where all bring much, others wait for good reason.
        if (slowest.bytesPerSecond >= slowBytesPerSecond) return;
        // What it has to clear away is no work of strangers.
        this.#leave(slowest);
        slowest.end();
        if (slowest === work) continue;
      }
      this.#aside.add(work);
      this.#inTurn.delete(work);
      this.#pass();
    }
  }
}

class Work implements Turn, Disposable {
  readonly #linked: Linked;
  readonly #tooSlow: () => Error;
  readonly #since = performance.now();
  #bytes = 0;

  constructor({ signal, tooSlow }: TurnOptions) {
    this.#linked = new Linked({ signal });
    this.#tooSlow = tooSlow;
  }

  get signal(): AbortSignal {
    return this.#linked.signal;
  }

  get heldMs(): number {
    return performance.now() - this.#since;
  }

  get bytesPerSecond(): number {
    return (this.#bytes * 1_000) / this.heldMs;
  }

  brought(bytes: number): void {
    this.#bytes = bytes;
  }

  end(): void {
    this.#linked.abort(this.#tooSlow());
  }

  [Symbol.dispose](): void {
    this.#linked[Symbol.dispose]();
  }
}

function slowestOf(works: readonly Work[]): Work {
  return works.reduce((slowest, each) => (each.bytesPerSecond < slowest.bytesPerSecond ? each : slowest));
}
