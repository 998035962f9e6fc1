/** Ended sandboxes, whose records are kept for an hour. */
import type { Logger } from '../../src/lib/logger.ts';
import { TOMBSTONE_KEPT_MS } from '../../src/protocol/limits.ts';
import type { SandboxRecord } from '../../src/protocol/node.ts';
import { Alarms } from './alarms.ts';

/** Beyond this, the oldest are forgotten early. */
const MAX_TOMBSTONES = 50_000;

export class Tombstones {
  /** In order of insertion. */
  readonly #dead = new Set<string>();
  readonly #alarms: Alarms;
  readonly #forget: (id: string) => void;

  /** @param forget called when a record expires; must not throw */
  constructor(forget: (id: string) => void, log: Logger) {
    this.#alarms = new Alarms(log);
    this.#forget = forget;
  }

  add({ id, endedAtMs }: SandboxRecord): void {
    this.#dead.add(id);
    // `endedAtMs` from an earlier agent may be in the future, if the clock was changed since.
    const ageMs = Math.max(0, Date.now() - (endedAtMs ?? Date.now()));
    this.#alarms.set(id, TOMBSTONE_KEPT_MS - ageMs, () => this.#remove(id));
    const [oldest] = this.#dead;
    if (this.#dead.size > MAX_TOMBSTONES && oldest !== undefined) this.#remove(oldest);
  }

  close(): void {
    this.#alarms.close();
  }

  #remove(id: string): void {
    this.#alarms.cancel(id);
    this.#dead.delete(id);
    this.#forget(id);
  }
}
