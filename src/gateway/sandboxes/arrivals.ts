/**
 * Sandboxes that this gateway has not heard of yet. A client may name one here a moment after another gateway made it,
 * before the word of its node has come: so an id that is not known is given that moment before it counts as unknown.
 */
import type { Entry } from './entry.ts';
import type { Store } from './store.ts';

/** Far more than a word from a node or from Redis takes on a busy machine; only ids that nobody has wait it out. */
const PATIENCE_MS = 1_000;
/** Beyond this many at once nobody waits: ids that were never given out are not worth memory. */
const MAX_WAITING = 1_000;

export class Arrivals {
  readonly #store: Store;
  readonly #patienceMs: number;
  readonly #waiting = new Map<string, Set<() => void>>();
  readonly #unlisten: () => void;
  #count = 0;

  /** @param patienceMs 0: nobody else makes sandboxes, and what is not known is not there. */
  constructor(store: Store, patienceMs = PATIENCE_MS) {
    this.#store = store;
    this.#patienceMs = patienceMs;
    this.#unlisten = store.onChange((entry) => this.#arrived(entry));
  }

  /** Whether it is not known, and yet worth waiting for. */
  mayCome(id: string): boolean {
    return this.#patienceMs > 0 && this.#store.get(id) === undefined && this.#count < MAX_WAITING;
  }

  /** Resolves once the sandbox is known, or when it has been waited for long enough; at once in nearly every case. */
  async settle(id: string): Promise<void> {
    if (!this.mayCome(id)) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    // What arrived while this process was busy is read before time is called.
    const timer = setTimeout(() => setImmediate(resolve), this.#patienceMs);
    let waiters = this.#waiting.get(id);
    if (waiters === undefined) this.#waiting.set(id, (waiters = new Set()));
    waiters.add(resolve);
    this.#count += 1;
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      this.#count -= 1;
      waiters.delete(resolve);
      if (waiters.size === 0 && this.#waiting.get(id) === waiters) this.#waiting.delete(id);
    }
  }

  stop(): void {
    this.#unlisten();
    for (const waiters of this.#waiting.values()) for (const resolve of waiters) resolve();
  }

  #arrived({ id }: Entry): void {
    for (const resolve of this.#waiting.get(id) ?? []) resolve();
  }
}
