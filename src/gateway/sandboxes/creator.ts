/** Creates sandboxes: checks the tenant's limits, records the sandboxes, and queues them for the nodes. */
import type { Logger } from '../../lib/logger.ts';
import { background } from '../../lib/background.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { pendingRecord, type SandboxSpec } from '../../protocol/node.ts';
import type { CreateSandboxRequest } from '../../protocol/sandbox.ts';
import type { GatewayConfig } from '../config.ts';
import { couldFit } from '../nodes/placement.ts';
import type { NodeRegistry } from '../nodes/registry.ts';
import { tooLarge } from '../nodes/too-large.ts';
import type { CreateContext, PlacementQueue, Ticket } from '../queue/queue.ts';
import type { Admission } from '../tenants/admission.ts';
import { overdueRecord, TAKEN_BACK, type Entry } from './entry.ts';
import { idsFrom, specsOf } from './spec.ts';
import type { Store } from './store.ts';

export interface CreatorDeps {
  store: Store;
  queue: PlacementQueue;
  registry: NodeRegistry;
  admission: Pick<Admission, 'admit' | 'changed' | 'withdraw' | 'weightOf'>;
  config: Pick<GatewayConfig, 'defaultImage' | 'queueWaitMs'>;
  /** By the clock that all gateways share. */
  now: () => number;
  log: Logger;
  /** Ends a sandbox of a failed create, wherever it is. */
  takeBack: (entry: Entry) => Promise<void>;
  observe?: { created(tenant: string, count: number): void };
}

/** What the idempotency key of a create stands for. */
interface Keyed {
  /** The ids are derived from it. */
  seed: string;
  /** Another gateway may even have accepted the create; see `IdempotentWork`. */
  isUnchecked: boolean;
}

/** One sandbox of a create. */
interface Attempt {
  entry: Entry;
  /** It was not known here before. */
  isFresh: boolean;
  /** Rejects if it is refused. */
  queued: Promise<void>;
}

const NO_IMAGE_RETRY_MS = 500;

export class Creator {
  readonly #deps: CreatorDeps;
  /** Seeds of failed creates that had enqueued something, until `hasTakenBack` is called. */
  readonly #spent = new Set<string>();

  constructor(deps: CreatorDeps) {
    this.#deps = deps;
  }

  /**
   * Admits, records and offers to the nodes as many sandboxes as the request asks for: all of them, or none. Returns
   * before any of them exists.
   * @param keyed for a create that another gateway may have begun
   * @throws ServiceError as `SandboxService.create`
   */
  async create(tenant: string, request: CreateSandboxRequest, keyed?: Keyed): Promise<Entry[]> {
    const { store, queue, admission, observe } = this.#deps;
    const image = request.image ?? this.#defaultImage();
    this.#assertPossible(request, image);
    const idOf = keyed === undefined ? undefined : idsFrom(keyed.seed, (id) => this.#takenBack(id));
    const specs = specsOf(tenant, request, image, this.#deps.now(), idOf);
    queue.assertSettled(specs);
    const entries: Entry[] = [];
    const context: CreateContext = {
      isBatch: specs.length > 1,
      isUnchecked: keyed?.isUnchecked ?? false,
      keyed: keyed !== undefined,
      begun: () => entries.some(({ sent, accepted }) => sent || accepted),
    };
    // What is or was on a node has been admitted before.
    const open = specs.filter(({ id }) => isOpen(store.get(id)));
    if (open.length > 0) await admission.admit(tenant, open);
    this.#assertRoom(specs, context);
    const rank = { priority: request.priority ?? 0, weight: admission.weightOf(tenant) };
    // In one go: the room is still there, and what this decides for each node leaves for it in one message.
    const attempts = specs.map((spec) => this.#attempt({ spec, ...rank }, context, entries));
    const outcomes = await Promise.allSettled(attempts.map(({ queued }) => queued));
    const fresh = attempts.flatMap(({ entry, isFresh }) => (isFresh ? [entry] : []));
    const failure = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failure !== undefined) {
      const refused = attempts.flatMap(({ entry }, i) => (outcomes[i]?.status === 'rejected' ? [entry] : []));
      await this.#undo(fresh, new Set(refused), keyed);
      throw failure.reason;
    }
    for (const entry of fresh) this.#limitWait(entry);
    observe?.created(tenant, fresh.length);
    return entries;
  }

  /**
   * Whether a sandbox of this seed is known here, and was not taken back.
   * @param anew only one that was created after another was taken back
   */
  hasMade(tenant: string, seed: string, anew: boolean): boolean {
    const id = idsFrom(seed, (each) => this.#takenBack(each))(0);
    return this.#deps.store.get(id)?.tenant === tenant && (!anew || id !== idsFrom(seed)(0));
  }

  /**
   * Whether any of the `count` sandboxes of this seed was taken back, as far as known here. For a create that failed.
   */
  hasTakenBack(seed: string, count: number): boolean {
    if (this.#spent.delete(seed)) return true;
    const idOf = idsFrom(seed);
    return Array.from({ length: count }, (_, i) => idOf(i)).some((id) => this.#takenBack(id));
  }

  /** @throws ServiceError if some cannot be queued; they no longer count as the tenant's then */
  #assertRoom(specs: readonly SandboxSpec[], context: CreateContext): void {
    const { store, queue, admission } = this.#deps;
    const unmade = specs.filter(({ id }) => store.get(id) === undefined);
    try {
      queue.assertRoom(unmade, context);
    } catch (error) {
      admission.withdraw(unmade);
      throw error;
    }
  }

  /** Records one sandbox, also in `entries`, and queues it. */
  #attempt(ticket: Ticket, context: CreateContext, entries: Entry[]): Attempt {
    const { store, queue, admission } = this.#deps;
    // Another gateway was in the middle of the same create: what it has created is part of this one.
    const made = store.get(ticket.spec.id);
    const entry = made ?? store.add(pendingRecord(ticket.spec));
    entries.push(entry);
    const attempt = async (): Promise<void> => {
      if (made === undefined) return await queue.add(ticket, context);
      // What is already on a node was counted there.
      admission.changed(made);
      if (made.waits) await queue.share(ticket, context);
    };
    return { entry, isFresh: made === undefined, queued: attempt() };
  }

  /**
   * All or none: takes back what a failed create has begun. What was created before keeps its claim.
   * @returns resolves once whoever repeats it here arrives at the same ids as at other gateways
   */
  async #undo(fresh: readonly Entry[], refused: ReadonlySet<Entry>, keyed: Keyed | undefined): Promise<void> {
    const { store, queue, admission, log } = this.#deps;
    const settled: Promise<void>[] = [];
    for (const entry of fresh) {
      if (refused.has(entry) && store.discard(entry)) continue;
      const takenBack = keyed !== undefined && entry.waits ? queue.takeBack(entry.id) : null;
      if (takenBack !== null && store.discard(entry)) {
        settled.push(takenBack);
        if (keyed?.isUnchecked === false) this.#spent.add(keyed.seed);
        continue;
      }
      background(this.#deps.takeBack(entry), 'take back a create', log);
    }
    admission.withdraw(fresh);
    await Promise.all(settled);
  }

  /** Deleted by the failed create that had begun it. A sandbox that a client deleted remains what its key stands for. */
  #takenBack(id: string): boolean {
    const record = this.#deps.store.get(id)?.record;
    return record?.reason === 'deleted' && record.message === TAKEN_BACK;
  }

  #limitWait(entry: Entry): void {
    const { store, queue, config, now, log } = this.#deps;
    const lifetimeMs = entry.record.expiresAtMs - now();
    const settled = entry.wait(() => entry.accepted || entry.ended, Math.min(config.queueWaitMs, lifetimeMs));
    const limit = settled.then((placed) => {
      if (placed) return;
      const lifetime = lifetimeMs <= config.queueWaitMs;
      const ended = overdueRecord(entry.record, { lifetime, waitMs: config.queueWaitMs, now: now() });
      if (queue.overdue(ended)) store.end(entry, ended.reason ?? 'internal', ended.message);
    });
    background(limit, 'limit the wait for a node', log);
  }

  #defaultImage(): string {
    const { config, registry } = this.#deps;
    // A node that is away for a moment has reported it before.
    const spokesman = registry.all.find((node) => node.up) ?? registry.all.find((node) => node.report !== null);
    const image = config.defaultImage ?? spokesman?.report?.defaultImage;
    if (image !== undefined && image !== '') return image;
    throw new ServiceError('node_unavailable', 'no node is connected that could name the default image', {
      retryAfterMs: NO_IMAGE_RETRY_MS,
    });
  }

  /** What no node could ever hold is refused at once. While nothing is known of any node, it may wait for one. */
  #assertPossible(request: CreateSandboxRequest, image: string): void {
    const known = this.#deps.registry.all.filter((node) => node.report !== null);
    const { cpus, memoryMb, diskMb = null } = request;
    const need = { image, cpus, memoryMb, diskMb };
    if (known.length === 0 || known.some((node) => couldFit(node, need))) return;
    const { message, details } = tooLarge(known, need);
    throw new ServiceError('invalid_request', message, { details });
  }
}

/** Not known yet, or neither on a node nor ended. */
const isOpen = (entry: Entry | undefined): boolean => entry === undefined || (!entry.accepted && !entry.ended);
