/**
 * Ends sandboxes that have waited too long. Only Redis knows whether something still waits: another gateway may have
 * placed it on a node without this one having learnt of it. So nothing ends here before Redis has removed it.
 */
import { background } from '../../lib/background.ts';
import type { SandboxRecord } from '../../protocol/node.ts';
import { overdueRecord } from '../sandboxes/entry.ts';
import { dropTicket } from './drop-ticket.ts';
import type { QueueParts } from './parts.ts';

export interface WaitTimeoutsOptions extends QueueParts {
  /** Whether this gateway keeps its ticket. */
  isOwn: (id: string) => boolean;
}

/** The gateway that accepted it ends it first, if still alive. */
const SLACK_MS = 5_000;

export class WaitTimeouts {
  readonly #options: WaitTimeoutsOptions;
  /**
   * Final records of sandboxes that this gateway accepted and that have waited too long; `missed`: Redis has reported
   * once that it does not wait.
   */
  readonly #own = new Map<string, { ended: SandboxRecord; missed: boolean }>();

  constructor(options: WaitTimeoutsOptions) {
    this.#options = options;
  }

  /** A sandbox that this gateway accepted has waited too long. */
  add(ended: SandboxRecord): void {
    this.#own.set(ended.id, { ended, missed: false });
    this.retry();
  }

  /** Call this periodically: Redis may have been away. */
  retry(): void {
    const { link, view, outbox } = this.#options;
    for (const [id, one] of this.#own) {
      if (view.isOpen(id) !== true) this.#own.delete(id);
      else if (link.up) void outbox.send(`over ${id}`, () => this.#end(one));
    }
  }

  /** Timeouts for all gateways, one of which may have died; for the leader. */
  endAll(now: number, waitMs: number): void {
    const { view, outbox } = this.#options;
    for (const { id, record } of view.values()) {
      if (view.isOpen(id) !== true) continue;
      const lifetime = now >= record.expiresAtMs;
      if (!lifetime && now < record.createdAtMs + waitMs + SLACK_MS) continue;
      const ended = overdueRecord(record, { lifetime, waitMs, now });
      void outbox.send(`over ${id}`, async () => void (await this.#strikeOut(ended)));
    }
  }

  async #end(one: { ended: SandboxRecord; missed: boolean }): Promise<void> {
    const { view, waitingList, isOwn, log } = this.#options;
    const { ended } = one;
    const { id } = ended;
    if (await this.#strikeOut(ended)) {
      this.#own.delete(id);
      return;
    }
    // It is on a node, which will report it.
    if (!isOwn(id)) this.#own.delete(id);
    else if (!one.missed) one.missed = true;
    else if (view.isOpen(id) === true) {
      // Redis had no room for it: it waits only here.
      this.#own.delete(id);
      view.apply(ended);
      background(waitingList.end(ended), 'tell of an end', log);
    }
  }

  /**
   * False: it does not wait there. All gateways are notified, this one included. @throws ServiceError
   * `node_unavailable`
   */
  async #strikeOut(ended: SandboxRecord): Promise<boolean> {
    if (!(await this.#options.waitingList.endIfWaiting(ended))) return false;
    dropTicket(this.#options, ended.tenant, ended.id);
    return true;
  }
}
