/** Sees to it that what was deleted goes, also when its node does not answer the first time. */
import type { Logger } from '../../lib/logger.ts';
import { backoffMs } from '../../lib/backoff.ts';
import { pause } from '../../lib/deadline.ts';
import { ServiceError } from '../../protocol/errors.ts';
import type { NodeOpen } from '../../protocol/node.ts';
import type { EndReason } from '../../protocol/sandbox.ts';
import type { Node } from '../nodes/node.ts';

const DELETE_DEADLINE_MS = 15_000;
const BACKOFF = { firstMs: 500, maxMs: 30_000 };

export class Reaper {
  readonly #log: Logger;
  readonly #stopping = new AbortController();
  /** Deletions under way, by node and id. */
  readonly #underWay = new Map<string, Promise<void>>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /**
   * Resolves when the node has answered, or is away: what it still has when it comes back is reaped then. One deletion
   * of an id on a node at a time.
   */
  reap(node: Node, id: string, reason: EndReason, message: string | null = null): Promise<void> {
    const key = `${node.url} ${id}`;
    let work = this.#underWay.get(key);
    if (work === undefined) {
      const order: NodeOpen = { op: 'delete', sandbox: id, reason, ...(message === null ? {} : { message }) };
      work = this.#run(node, id, order).finally(() => this.#underWay.delete(key));
      this.#underWay.set(key, work);
    }
    return work;
  }

  stop(): void {
    this.#stopping.abort(new ServiceError('cancelled'));
  }

  async #run(node: Node, id: string, order: NodeOpen): Promise<void> {
    for (let failures = 1; node.up && !this.#stopping.signal.aborted; failures++) {
      try {
        await node.call(order, DELETE_DEADLINE_MS);
        return;
      } catch (thrown) {
        const error = ServiceError.from(thrown);
        if (error.code === 'sandbox_not_found' || error.code === 'sandbox_ended') return;
        this.#log.warn({ node: node.name, sandbox: id, code: error.code }, 'a deletion failed: it is retried');
        await pause(backoffMs(BACKOFF, failures), this.#stopping.signal);
      }
    }
  }
}
