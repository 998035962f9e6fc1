/**
 * One sandbox, alive on two nodes: an answer was lost, and it was sent elsewhere. All gateways must keep the same one of
 * the two, or each would end what the other keeps. So they ask who was sent it last, and end the other one only when
 * all of them can have seen both.
 */
import { background } from '../../lib/background.ts';
import { sleep } from '../../lib/deadline.ts';
import type { Logger } from '../../lib/logger.ts';
import { ServiceError } from '../../protocol/errors.ts';
import type { Node } from '../nodes/node.ts';
import type { Entry } from './entry.ts';
import type { Reaper } from './reaper.ts';
import type { Store } from './store.ts';

/** Who a sandbox belongs to, by the word of what all gateways share. */
export interface Owners {
  /**
   * One of these nodes, by name: the first from now on, if it was none of them. The same for every gateway that asks.
   * @throws ServiceError `node_unavailable` while nobody can say
   */
  ownerOf(id: string, candidates: readonly string[]): Promise<string>;
}

export interface RivalsOptions {
  store: Store;
  reaper: Reaper;
  owners: Owners;
  log: Logger;
  /** From the decision to the end of the one that lost. */
  settleMs?: number;
}

const SETTLE_MS = 1_000;
const RETRY_MS = 1_000;

export class Rivals {
  readonly #options: RivalsOptions;
  readonly #stopping = new AbortController();
  readonly #deciding = new Set<Entry>();

  constructor(options: RivalsOptions) {
    this.#options = options;
  }

  /** For `Store.onRival`. */
  meet(entry: Entry, node: Node): void {
    if (this.#deciding.has(entry)) return;
    this.#deciding.add(entry);
    const decided = this.#decide(entry, node).finally(() => this.#deciding.delete(entry));
    background(decided, 'decide between two nodes', this.#options.log);
  }

  stop(): void {
    this.#stopping.abort(new ServiceError('cancelled'));
  }

  async #decide(entry: Entry, node: Node): Promise<void> {
    const { store, reaper, log, settleMs = SETTLE_MS } = this.#options;
    const { signal } = this.#stopping;
    try {
      const owner = await this.#owner(entry, node);
      // Meanwhile it became the only one that has it, or has it no more.
      if (!entry.rivals.has(node)) return;
      log.warn({ sandbox: entry.id, owner, node: node.name }, 'a sandbox is alive on two nodes; one keeps it');
      if (owner === node.name) store.yield(entry, node);
      await sleep(settleMs, signal);
    } catch {
      return;
    }
    for (const rival of entry.rivals.keys()) {
      entry.rivals.delete(rival);
      await reaper.reap(rival, entry.id, 'internal');
    }
  }

  /** While nobody can say, both live: only one of them is used here. */
  async #owner(entry: Entry, node: Node): Promise<string> {
    for (;;) {
      this.#stopping.signal.throwIfAborted();
      try {
        return await this.#options.owners.ownerOf(entry.id, [entry.node?.name ?? node.name, node.name]);
      } catch {
        await sleep(RETRY_MS, this.#stopping.signal);
      }
    }
  }
}
