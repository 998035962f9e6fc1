/** Limits concurrent work that a peer can slow down. Slow work loses its turn, so that others need not wait for it. */
import { Linked, orAbort } from '../../src/lib/deadline.ts';

const LOOK_EVERY_MS = 1_000;

export interface TurnRules {
  /** How many hold a turn at once; others wait. */
  atOnce: number;
  /**
   * How many more may continue after losing their turn. When all these places are taken, the slowest is aborted, if it
   * is slow.
   */
  aside: number;
  /** Work slower than this, averaged over its turn, counts as slow. */
  slowBytesPerSecond: number;
  /** How long slow work keeps its turn while others wait, in milliseconds. */
  slowMs: number;
  /** The same for other work. */
  longMs: number;
}

export interface TurnOptions {
  signal: AbortSignal | undefined;
  /**
   * The tenants the work is for; the set may change while it waits. Absent: the operator, who counts as one more
   * tenant.
   */
  tenants?: () => ReadonlySet<string>;
  /** The abort reason for work that is too slow. */
  tooSlow: () => Error;
}

export interface Turn {
  /** Aborted with the caller's signal, or with `tooSlow`. */
  readonly signal: AbortSignal;
  /** Reports the bytes received so far. Infinity: the rest does not depend on a peer. */
  received(bytes: number): void;
}

interface Waiting {
  tenants: () => ReadonlySet<string>;
  call: () => void;
}

const OPERATOR: ReadonlySet<string> = new Set(['']);
const operatorAlone = (): ReadonlySet<string> => OPERATOR;

export class Turns {
  readonly #rules: TurnRules;
  #free: number;
  readonly #line = new Set<Waiting>();
  /** Tenant → the number of the latest turn given to work it was waiting for. */
  readonly #served = new Map<string, number>();
  #turnsGiven = 0;
  readonly #inTurn = new Set<Work>();
  readonly #aside = new Set<Work>();
  #looking: NodeJS.Timeout | undefined;

  constructor(rules: TurnRules) {
    this.#rules = rules;
    this.#free = rules.atOnce;
  }

  /**
   * Runs `work` when it gets a turn.
   * @throws whatever `work` throws; the signal's reason if it fires before the turn comes.
   */
  async take<T>(options: TurnOptions, work: (turn: Turn) => Promise<T>): Promise<T> {
    await this.#wait(options);
    using mine = new Work(options);
    this.#inTurn.add(mine);
    try {
      return await work(mine);
    } finally {
      this.#leave(mine);
    }
  }

  async #wait({ signal, tenants = operatorAlone }: TurnOptions): Promise<void> {
    signal?.throwIfAborted();
    if (this.#free > 0) {
      this.#free -= 1;
      return;
    }
    const turn = Promise.withResolvers<void>();
    const waiting: Waiting = { tenants, call: turn.resolve };
    this.#line.add(waiting);
    this.#looking ??= setInterval(() => this.#look(), LOOK_EVERY_MS);
    try {
      await orAbort(signal, turn.promise);
    } catch (error) {
      // The turn was granted at the same moment: pass it on.
      if (!this.#line.delete(waiting)) this.#pass();
      throw error;
    } finally {
      if (this.#line.size === 0) {
        clearInterval(this.#looking);
        this.#looking = undefined;
        this.#served.clear();
      }
    }
  }

  #pass(): void {
    const next = this.#next();
    if (next === undefined) {
      this.#free += 1;
      return;
    }
    this.#line.delete(next.waiting);
    this.#turnsGiven += 1;
    this.#served.set(next.tenant, this.#turnsGiven);
    next.waiting.call();
  }

  /** The oldest entry of the tenant that has gone longest without a turn. */
  #next(): { waiting: Waiting; tenant: string } | undefined {
    let next: { waiting: Waiting; tenant: string; servedAt: number } | undefined;
    for (const waiting of this.#line) {
      for (const tenant of waiting.tenants()) {
        const servedAt = this.#served.get(tenant) ?? 0;
        if (next === undefined || servedAt < next.servedAt) next = { waiting, tenant, servedAt };
      }
    }
    return next;
  }

  #leave(work: Work): void {
    this.#aside.delete(work);
    if (this.#inTurn.delete(work)) this.#pass();
  }

  /** While others wait, checks whether a turn has been held for too long. */
  #look(): void {
    const { aside, slowBytesPerSecond, slowMs, longMs } = this.#rules;
    for (const work of this.#inTurn) {
      if (this.#line.size === 0) return;
      if (work.heldMs < (work.bytesPerSecond < slowBytesPerSecond ? slowMs : longMs)) continue;
      if (this.#aside.size >= aside) {
        const slowest = slowestOf([...this.#aside, work]);
        // If none is slow, the wait is legitimate.
        if (slowest.bytesPerSecond >= slowBytesPerSecond) return;
        // Its clean-up does not depend on a peer, so it needs no place.
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

  received(bytes: number): void {
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
