/** What Redis must still be told. Tried at once, and again until it is done or the gateway ends. One of each key. */
import { background } from '../../lib/background.ts';
import type { Logger } from '../../lib/logger.ts';

interface Debt {
  work: () => Promise<void>;
  done: PromiseWithResolvers<void>;
  trying: boolean;
}

const RETRY_MS = 1_000;
/** At once: more would only wait for each other. */
const MAX_TRYING = 256;
/** Beyond it what is owed is dropped: a store that is away for so long has lost more. */
const MAX_DEBTS = 100_000;

export class Owed {
  readonly #log: Logger;
  readonly #debts = new Map<string, Debt>();
  readonly #timer: NodeJS.Timeout;
  #trying = 0;
  #stopped = false;

  constructor(log: Logger) {
    this.#log = log;
    this.#timer = setInterval(() => this.pay(), RETRY_MS).unref();
  }

  get size(): number {
    return this.#debts.size;
  }

  /** Resolves when it is done, or when nothing is any more; never rejects. The work may be done more than once. */
  owe(key: string, work: () => Promise<void>): Promise<void> {
    const known = this.#debts.get(key);
    if (known !== undefined) {
      known.work = work;
      return known.done.promise;
    }
    const debt: Debt = { work, done: Promise.withResolvers(), trying: false };
    if (this.#stopped || this.#debts.size >= MAX_DEBTS) debt.done.resolve();
    else {
      this.#debts.set(key, debt);
      if (this.#trying < MAX_TRYING) this.#try(key, debt);
    }
    return debt.done.promise;
  }

  /** Now is a good time. */
  pay(): void {
    for (const [key, debt] of this.#debts) {
      if (this.#trying >= MAX_TRYING) return;
      this.#try(key, debt);
    }
  }

  /** Resolves when nothing that is owed now is owed any more. */
  async settled(): Promise<void> {
    await Promise.all([...this.#debts.values()].map(({ done }) => done.promise));
  }

  /** What is not done by now stays undone. */
  stop(): void {
    this.#stopped = true;
    clearInterval(this.#timer);
    for (const { done } of this.#debts.values()) done.resolve();
    this.#debts.clear();
  }

  #try(key: string, debt: Debt): void {
    if (debt.trying) return;
    debt.trying = true;
    this.#trying += 1;
    const { work } = debt;
    const tried = work().then(
      () => {
        debt.trying = false;
        this.#trying -= 1;
        // Something newer is owed under this key meanwhile.
        if (debt.work !== work) return this.#try(key, debt);
        this.#debts.delete(key);
        debt.done.resolve();
        if (this.#debts.size > this.#trying) this.pay();
      },
      () => {
        debt.trying = false;
        this.#trying -= 1;
      },
    );
    background(tried, 'tell redis', this.#log);
  }
}
