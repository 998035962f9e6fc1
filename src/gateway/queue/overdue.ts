/**
 * Ends what has waited too long. Whether something still waits, only Redis knows: another gateway may have brought it to
 * a node of which this one has not heard. So nothing ends here before Redis has struck it out.
 */
import { background } from '../../lib/background.ts';
import type { SandboxRecord } from '../../protocol/node.ts';
import { overdueRecord } from '../sandboxes/entry.ts';
import { dropTicket } from './drop-ticket.ts';
import type { QueueParts } from './parts.ts';

export interface OverdueOptions extends QueueParts {
  /** Whether this gateway keeps its ticket. */
  isOwn: (id: string) => boolean;
}

/** The gateway that accepted it ends it first, if it is still alive. */
const SLACK_MS = 5_000;

export class Overdue {
  readonly #options: OverdueOptions;
  /** Final records of what this gateway accepted and whose wait is over; `missed`: Redis has said once that it does not wait. */
  readonly #own = new Map<string, { ended: SandboxRecord; missed: boolean }>();

  constructor(options: OverdueOptions) {
    this.#options = options;
  }

  /** The wait of a sandbox that this gateway accepted is over. */
  add(ended: SandboxRecord): void {
    this.#own.set(ended.id, { ended, missed: false });
    this.look();
  }

  /** To be called now and then: Redis may have been away. */
  look(): void {
    const { link, known, outbox } = this.#options;
    for (const [id, one] of this.#own) {
      if (known.isOpen(id) !== true) this.#own.delete(id);
      else if (link.up) void outbox.send(`over ${id}`, () => this.#end(one));
    }
  }

  /** Of all gateways, one of which may have died; for the leader. */
  endAll(now: number, waitMs: number): void {
    const { known, outbox } = this.#options;
    for (const { id, record } of known.values()) {
      if (known.isOpen(id) !== true) continue;
      const lifetime = now >= record.expiresAtMs;
      if (!lifetime && now < record.createdAtMs + waitMs + SLACK_MS) continue;
      const ended = overdueRecord(record, { lifetime, waitMs, now });
      void outbox.send(`over ${id}`, async () => void (await this.#strikeOut(ended)));
    }
  }

  async #end(one: { ended: SandboxRecord; missed: boolean }): Promise<void> {
    const { known, waitingList, isOwn, log } = this.#options;
    const { ended } = one;
    const { id } = ended;
    if (await this.#strikeOut(ended)) {
      this.#own.delete(id);
      return;
    }
    // On a node, as soon as that is heard of.
    if (!isOwn(id)) this.#own.delete(id);
    else if (!one.missed) one.missed = true;
    else if (known.isOpen(id) === true) {
      // For want of room in Redis it waits here only.
      this.#own.delete(id);
      known.tell(ended);
      background(waitingList.end(ended), 'tell of an end', log);
    }
  }

  /** False: it does not wait there. All gateways hear of it, this one too. @throws ServiceError `node_unavailable` */
  async #strikeOut(ended: SandboxRecord): Promise<boolean> {
    if (!(await this.#options.waitingList.endIfWaiting(ended))) return false;
    dropTicket(this.#options, ended.tenant, ended.id);
    return true;
  }
}
