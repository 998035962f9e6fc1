/**
 * Final records of sandboxes that ended before they had a node, or were deleted while it was away. Redis keeps them, so
 * that no gateway takes a sandbox for waiting, or for running, that another has ended. Each gateway also keeps those it
 * knows of, whoever ended them: if Redis loses its data they are written again, and so is the one whose sandbox a
 * gateway that missed its end lists as waiting.
 */
import { TOMBSTONE_KEPT_MS } from '../../protocol/limits.ts';
import type { SandboxRecord } from '../../protocol/node.ts';
import { dropTicket } from './drop-ticket.ts';
import type { QueueParts } from './parts.ts';
import { MAX_ENDED } from './waiting-list.ts';

/** Records written at a time: callers' requests to Redis go in between. */
const AT_ONCE = 64;

export class EndedRecords {
  readonly #options: QueueParts;
  /** In the order in which they arrived, which is nearly the order in which they ended. */
  readonly #kept = new Map<string, SandboxRecord>();

  constructor(options: QueueParts) {
    this.#options = options;
  }

  /** Redis has it, or is about to get it. */
  keep(record: SandboxRecord): void {
    if (this.#kept.has(record.id)) return;
    this.#kept.set(record.id, record);
    for (const [id, one] of this.#kept) {
      if (this.#kept.size <= MAX_ENDED && this.#isKept(one)) return;
      this.#kept.delete(id);
    }
  }

  /** The final record, if it ended within the last hour. */
  get(id: string): SandboxRecord | undefined {
    const record = this.#kept.get(id);
    return record !== undefined && this.#isKept(record) ? record : undefined;
  }

  /** Resolves once Redis has it, and with it all gateways. Never rejects. */
  async write(record: SandboxRecord): Promise<void> {
    const { outbox, waitingList } = this.#options;
    await outbox.send(`end ${record.id}`, () => waitingList.end(record));
    dropTicket(this.#options, record.tenant, record.id);
  }

  /** Writes all of them, for a Redis that lost its data. */
  writeAll(): void {
    void this.#options.outbox.send('all ends', async () => {
      const records = [...this.#kept.values()];
      for (let i = 0; i < records.length; i += AT_ONCE) {
        const some = records.slice(i, i + AT_ONCE).filter((record) => this.#isKept(record));
        await Promise.all(some.map((record) => this.#options.waitingList.end(record)));
      }
    });
  }

  /** Whether Redis still keeps it. */
  #isKept({ endedAtMs }: SandboxRecord): boolean {
    return endedAtMs !== null && this.#options.link.clock.now() - endedAtMs < TOMBSTONE_KEPT_MS;
  }
}
