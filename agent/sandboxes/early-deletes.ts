/** Ids deleted before their create arrived, so that the late create is refused. */
import { TOMBSTONE_KEPT_MS } from '../../src/protocol/limits.ts';

const MAX_IDS = 10_000;

export class EarlyDeletes {
  /** In order of arrival. */
  readonly #until = new Map<string, number>();

  add(id: string): void {
    const now = performance.now();
    this.#until.delete(id);
    this.#until.set(id, now + TOMBSTONE_KEPT_MS);
    for (const [oldest, until] of this.#until) {
      if (until > now && this.#until.size <= MAX_IDS) break;
      this.#until.delete(oldest);
    }
  }

  has(id: string): boolean {
    return (this.#until.get(id) ?? 0) > performance.now();
  }
}
