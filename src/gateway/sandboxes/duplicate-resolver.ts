/**
 * Resolves a sandbox that is alive on two nodes: the answer of the first was lost, so it was sent to a second. All
 * gateways must keep the same one, or each would end the one that the other keeps. So they ask the shared owner record,
 * and end the other one only after a delay in which every gateway has seen both.
 */
import { background } from '../../lib/background.ts';
import { pause } from '../../lib/deadline.ts';
import type { Logger } from '../../lib/logger.ts';
import { ServiceError } from '../../protocol/errors.ts';
import type { Node } from '../nodes/node.ts';
import type { Entry } from './entry.ts';
import type { Reaper } from './reaper.ts';
import type { Store } from './store.ts';

/** Which node a sandbox belongs to, as recorded for all gateways. */
export interface Owners {
  /**
   * The name of the node, out of these, that owns the sandbox. If none of them does, the first becomes the owner. Every
   * gateway gets the same answer.
   * @throws ServiceError `node_unavailable` while the record cannot be read
   */
  ownerOf(id: string, candidates: readonly string[]): Promise<string>;
}

export interface DuplicateResolverOptions {
  store: Store;
  reaper: Reaper;
  owners: Owners;
  log: Logger;
  /** Delay between the decision and ending the other sandbox. */
  settleMs?: number;
}

const SETTLE_MS = 1_000;
const RETRY_MS = 1_000;

export class DuplicateResolver {
  readonly #options: DuplicateResolverOptions;
  readonly #stopping = new AbortController();
  readonly #deciding = new Set<Entry>();

  constructor(options: DuplicateResolverOptions) {
    this.#options = options;
  }

  /** For `Store.onDuplicate`. */
  resolve(entry: Entry, node: Node): void {
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
    const owner = await this.#owner(entry, node);
    // Meanwhile the conflict has gone away: only one node has it, or none.
    if (owner === null || !entry.duplicates.has(node)) return;
    log.warn({ sandbox: entry.id, owner, node: node.name }, 'a sandbox is alive on two nodes; one keeps it');
    if (owner === node.name) store.handOver(entry, node);
    await pause(settleMs, signal);
    if (signal.aborted) return;
    for (const other of entry.duplicates.keys()) {
      entry.duplicates.delete(other);
      await reaper.reap(other, entry.id, 'internal');
    }
  }

  /** While the owner cannot be read both stay alive, and this gateway uses one of them. Null: the gateway stops. */
  async #owner(entry: Entry, node: Node): Promise<string | null> {
    const { owners, log } = this.#options;
    const { signal } = this.#stopping;
    for (let tries = 1; !signal.aborted; tries++) {
      try {
        return await owners.ownerOf(entry.id, [entry.node?.name ?? node.name, node.name]);
      } catch (error) {
        const message = 'a sandbox is alive on two nodes, and it is not known which of them keeps it';
        if (tries === 1) log.warn({ sandbox: entry.id, node: node.name, err: error }, message);
        await pause(RETRY_MS, signal);
      }
    }
    return null;
  }
}
