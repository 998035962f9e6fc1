/**
 * The ends of what never had a node. Redis keeps them, so that no gateway takes for waiting what another has ended. Each
 * gateway keeps those that it knows as well, whoever decided them: if Redis loses its data they are written again, and
 * if a gateway that has not heard of one lists its sandbox as waiting, that one is.
 */
import { TOMBSTONE_KEPT_MS } from '../../protocol/limits.ts';
import type { SandboxRecord } from '../../protocol/node.ts';
import { dropTicket } from './drop-ticket.ts';
import type { QueueParts } from './parts.ts';
import { MAX_ENDED } from './waiting-list.ts';

/** Ends that are written at once: what callers ask of Redis goes in between. */
const AT_ONCE = 64;

export class Ends {
  readonly #options: QueueParts;
  /** In the order in which they were heard of, which is nearly that in which they ended. */
  readonly #kept = new Map<string, SandboxRecord>();

  constructor(options: QueueParts) {
    this.#options = options;
  }

  /** Redis has it, or is to have it. */
  keep(record: SandboxRecord): void {
    if (this.#kept.has(record.id)) return;
    this.#kept.set(record.id, record);
    for (const [id, one] of this.#kept) {
      if (this.#kept.size <= MAX_ENDED && this.#isKept(one)) return;
      this.#kept.delete(id);
    }
  }

  /** How it ended, if it did within the last hour. */
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

  /** As long as Redis keeps it. */
  #isKept({ endedAtMs }: SandboxRecord): boolean {
    return endedAtMs !== null && this.#options.link.clock.now() - endedAtMs < TOMBSTONE_KEPT_MS;
  }
}
