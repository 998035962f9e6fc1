/**
 * Ids of sandboxes that this gateway does not know yet. A client may use a sandbox here a moment after another gateway
 * created it, before its node has reported it. So an unknown id gets a short wait before it is answered with not_found.
 */
import type { Entry } from './entry.ts';
import type { Store } from './store.ts';

/** Far longer than news from a node or from Redis takes on a busy machine. Only ids that nobody has wait this long. */
const PATIENCE_MS = 1_000;
/** With this many waiting, the next ones do not wait, and are told to come again: made-up ids must not cost memory. */
const MAX_WAITING = 1_000;

export class UnknownIds {
  readonly #store: Store;
  readonly #patienceMs: number;
  readonly #waiting = new Map<string, Set<() => void>>();
  readonly #unlisten: () => void;
  #count = 0;

  /** @param patienceMs 0: there is no other gateway, so an unknown sandbox does not exist. */
  constructor(store: Store, patienceMs = PATIENCE_MS) {
    this.#store = store;
    this.#patienceMs = patienceMs;
    this.#unlisten = store.onChange((entry) => this.#arrived(entry));
  }

  /** Whether there are other gateways, which create sandboxes as well. */
  get hasOtherGateways(): boolean {
    return this.#patienceMs > 0;
  }

  /** No further call may wait: whether an unknown id exists cannot be told. */
  get isFull(): boolean {
    return this.#count >= MAX_WAITING;
  }

  /** Whether it is unknown but worth waiting for. */
  mayAppear(id: string): boolean {
    return this.hasOtherGateways && this.#store.get(id) === undefined && !this.isFull;
  }

  /** Resolves once the sandbox is known or the wait is over; in nearly every case at once. */
  async wait(id: string): Promise<void> {
    if (!this.mayAppear(id)) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    // News that arrived while this process was busy is read before the wait counts as over.
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
