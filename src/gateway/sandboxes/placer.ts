/**
 * Sends sandboxes from the queue to nodes. Whether a node refuses or fails, another one is tried; one that fails is
 * suspect.
 */
import type { Logger } from '../../lib/logger.ts';
import { ServiceError } from '../../protocol/errors.ts';
import type { SandboxRecord } from '../../protocol/node.ts';
import type { EndReason } from '../../protocol/sandbox.ts';
import type { Node } from '../nodes/node.ts';
import { haveRoom, pick, type Need } from '../nodes/placement.ts';
import type { Permit, Outcome, Ticket } from '../queue/queue.ts';
import { CreateSender } from './create-sender.ts';
import type { Entry } from './entry.ts';
import type { Store } from './store.ts';

export interface PlacerOptions {
  nodes: () => readonly Node[];
  store: Store;
  /** The clock that all gateways share. */
  now: () => number;
  log: Logger;
  /** Called with the outcome of each attempt, for metrics. */
  observe?: (outcome: 'accepted' | 'refused' | 'failed') => void;
}

/** How long to wait, before the next offer, for a disconnected node that may have the sandbox. */
const TRIED_PATIENCE_MS = 2_000;
/** How many failed nodes to remember per sandbox: it goes to one of these again only after the others were tried. */
const MAX_EXCLUDED = 64;

export class Placer {
  readonly #options: PlacerOptions;
  readonly #sender: CreateSender;
  /** The last failure. One lost message may fail many sandboxes at once, but counts as one failure of its node. */
  #failure: ServiceError | null = null;
  /** The nodes that failed each sandbox. */
  readonly #excluded = new Map<string, Set<Node>>();

  constructor(options: PlacerOptions) {
    this.#options = options;
    this.#sender = new CreateSender({
      now: options.now,
      known: (node, id) => {
        const entry = options.store.get(id);
        return entry !== undefined && entry.accepted && entry.node === node ? entry.record : undefined;
      },
    });
  }

  /** Whether the nodes have room for all of these, according to the latest reports. */
  fits(needs: readonly Need[]): boolean {
    return haveRoom(this.#options.nodes(), needs);
  }

  /** See `Offer`. */
  offer(ticket: Ticket, permit?: Permit): Promise<Outcome> | null {
    const { store, nodes } = this.#options;
    const entry = store.get(ticket.spec.id);
    if (entry === undefined || entry.ended || entry.accepted) return Promise.resolve('placed');
    const tried = permit === undefined ? undefined : nodes().find(({ name }) => name === permit.triedOn);
    if (tried !== undefined && !tried.up && tried.state !== 'lost') {
      // That node may have it: wait until it answers or counts as lost. The tenant's other sandboxes go meanwhile.
      const unclear = (): Outcome => ({ unclear: tried.name });
      return tried.whenUp(TRIED_PATIENCE_MS).then(unclear, unclear);
    }
    const excluded = this.#excluded.get(entry.id);
    // It was sent there, but the answer did not arrive. Sending the same id again creates nothing twice.
    if (tried?.up === true && !excluded?.has(tried)) return this.#send(ticket, entry, tried, permit);
    let node = pick(nodes(), ticket.spec, { exclude: excluded });
    if (node === null && excluded !== undefined) {
      // All other nodes are full: retry a suspect one, but only after a pause.
      this.#excluded.delete(entry.id);
      node = null;
    }
    if (node === null) return null;
    return this.#send(ticket, entry, node, permit);
  }

  /** The sandbox was placed or has ended: forget its failures. */
  forget(id: string): void {
    this.#excluded.delete(id);
  }

  async #send(ticket: Ticket, entry: Entry, node: Node, permit: Permit | undefined): Promise<Outcome> {
    const { store, observe } = this.#options;
    store.assign(entry, node);
    node.reserve(ticket.spec.image);
    const refusal = permit === undefined ? null : await this.#ask(permit, entry, node);
    if (refusal !== null) {
      if (entry.node === node && !entry.accepted) store.assign(entry, null);
      return refusal;
    }
    entry.sent = true;
    let record: SandboxRecord;
    try {
      record = await this.#sender.send(node, ticket.spec);
    } catch (thrown) {
      const outcome = this.#turnedDown(entry, node, ServiceError.from(thrown));
      return outcome === 'later' && permit?.triedOn === node.name ? await this.#bar(entry, node) : outcome;
    }
    observe?.('accepted');
    this.#excluded.delete(entry.id);
    // It was deleted meanwhile: the store tells the node.
    store.take(node, record);
    return 'placed';
  }

  /** Null: the ticket may be sent to the node, within this tick. */
  async #ask(permit: Permit, entry: Entry, node: Node): Promise<Outcome | null> {
    const said = await permit.claim(node.name).catch((error: unknown) => {
      if (ServiceError.from(error).code !== 'node_unavailable')
        this.#options.log.error({ sandbox: entry.id, err: error }, 'a permit could not be claimed');
      return 'unknown' as const;
    });
    if (entry.ended || entry.accepted || said === 'ended' || said === 'gone') return 'placed';
    if (said === 'unknown') return permit.triedOn === null ? 'later' : { unclear: permit.triedOn };
    // A process that was stalled until its permit expired must send nothing.
    return said === 'granted' && permit.holds() ? null : 'lost';
  }

  #turnedDown(entry: Entry, node: Node, error: ServiceError): Outcome {
    const { store, log, observe } = this.#options;
    // If the watch has already reported it, only the answer was lost.
    if (entry.ended || entry.accepted) return 'placed';
    if (error.code === 'sandbox_ended') {
      // Barred there; see below. Had it been deleted, there would have been no permit, or this gateway has no Redis and
      // cannot know.
      this.#exclude(entry.id, node);
      entry.sent = false;
      store.assign(entry, null);
      return 'later';
    }
    switch (error.code) {
      case 'capacity_exhausted':
      case 'draining':
      case 'rate_limited':
        observe?.('refused');
        node.refused();
        entry.sent = false;
        store.assign(entry, null);
        return 'later';
      case 'node_unavailable':
      case 'interrupted':
      case 'deadline_exceeded':
      case 'protocol_error':
      case 'internal':
      case 'unauthenticated':
        // The node may have it anyway. If so it reports it when it is back, and the duplicate is resolved then.
        observe?.('failed');
        if (error !== this.#failure) {
          log.warn({ node: node.name, sandbox: entry.id, code: error.code }, 'a node failed to take a sandbox');
          if (node.health.failed()) log.warn({ node: node.name }, 'node ejected after repeated failures');
        }
        this.#failure = error;
        this.#exclude(entry.id, node);
        store.assign(entry, null);
        return { unclear: node.name };
      default:
        entry.sent = false;
        store.end(entry, reasonOf(error), error.message, error.code);
        return 'placed';
    }
  }

  /**
   * The node does not have it, but an earlier create may still be on its way there. Deleting the id now makes the node
   * refuse that create when it arrives.
   */
  async #bar(entry: Entry, node: Node): Promise<Outcome> {
    this.#exclude(entry.id, node);
    try {
      await node.call({ op: 'delete', sandbox: entry.id, reason: 'internal' });
      return 'placed';
    } catch (thrown) {
      return ServiceError.from(thrown).code === 'sandbox_not_found' ? 'later' : { unclear: node.name };
    }
  }

  #exclude(id: string, node: Node): void {
    let excluded = this.#excluded.get(id);
    if (excluded === undefined) this.#excluded.set(id, (excluded = new Set()));
    if (excluded.size < MAX_EXCLUDED) excluded.add(node);
  }
}

function reasonOf(error: ServiceError): EndReason {
  return error.code.startsWith('image_') ? 'image_pull_failed' : 'start_failed';
}
