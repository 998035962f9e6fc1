/** Operations on sandboxes, for every API. */
import { resolvesWithin } from '../../lib/deadline.ts';
import { ServiceError, type ServiceErrorOptions } from '../../protocol/errors.ts';
import { MAX_PAGE, MAX_TIMEOUT_MS } from '../../protocol/limits.ts';
import { CreateSandboxRequest, endOf, type Sandbox, type SandboxStatus } from '../../protocol/sandbox.ts';
import type { GatewayConfig } from '../config.ts';
import { formOf } from '../idempotency/fingerprint.ts';
import type { IdempotencyStore } from '../idempotency/store.ts';
import type { Lifecycle } from '../lifecycle.ts';
import type { Node } from '../nodes/node.ts';
import { SETTLE_MS } from '../nodes/service.ts';
import { parseRecord } from '../nodes/watch.ts';
import { decodeCursor, encodeCursor } from './age-index.ts';
import { Creator, type CreatorDeps } from './creator.ts';
import { TAKEN_BACK, type Entry } from './entry.ts';
import type { Reaper } from './reaper.ts';
import type { UnknownIds } from './unknown-ids.ts';

export interface SandboxFilter {
  /** All of these, with these values. */
  labels?: Record<string, string> | undefined;
  status?: readonly SandboxStatus[] | undefined;
  name?: string | undefined;
}

export interface Page {
  sandboxes: Sandbox[];
  /** Null: there are no more. */
  nextCursor: string | null;
}

export interface SandboxServiceDeps extends Omit<CreatorDeps, 'takeBack'> {
  reaper: Reaper;
  unknownIds: UnknownIds;
  idempotency: IdempotencyStore;
  lifecycle: Lifecycle;
  config: Pick<GatewayConfig, 'defaultImage' | 'queueWaitMs' | 'linkPatienceMs' | 'nodeGraceMs'>;
}

const EXTEND_DEADLINE_MS = 10_000;
/** A delete is answered after this long even if the node has not answered: it goes on in the background. */
const DELETE_PATIENCE_MS = 10_000;
/** For one sandbox, which a gateway that has just started is likely to learn of in a moment. */
const LEARNING_RETRY_MS = 200;
/**
 * For calls that need all nodes, and for one sandbox after the grace period: a node that is down may stay away for
 * long. Clients retry a few times, which must cover more than `SETTLE_MS`.
 */
const UNSURE_RETRY_MS = 1_000;
const DEFAULT_PAGE = 100;
const FORM = formOf(CreateSandboxRequest);

export class SandboxService {
  readonly #deps: SandboxServiceDeps;
  readonly #creator: Creator;

  constructor(deps: SandboxServiceDeps) {
    this.#deps = deps;
    this.#creator = new Creator({ ...deps, takeBack: (entry) => this.#delete(entry, TAKEN_BACK) });
  }

  /**
   * Makes `request.count` sandboxes (default one), and answers before any of them exists. A repeated idempotency key
   * gets the same sandboxes, in their current state.
   * @throws ServiceError `quota_exceeded`, `rate_limited` by the tenant's bounds, `capacity_exhausted` when the queue
   * is full (none is made in any of these cases), `idempotency_conflict`, `draining`, `body_too_large`.
   */
  async create(tenant: string, request: CreateSandboxRequest, idempotencyKey?: string): Promise<Sandbox[]> {
    this.#deps.lifecycle.assertOpen();
    if (idempotencyKey === undefined) {
      return (await this.#creator.create(tenant, request)).map((entry) => this.#view(entry));
    }
    // What was taken back, here or at another gateway, decides which ids the key has.
    await this.#deps.queue.whenInformed();
    const ids = await this.#deps.idempotency.run(
      {
        scope: `create ${tenant}`,
        key: idempotencyKey,
        request,
        form: FORM,
        made: (seed, anew) => this.#creator.hasMade(tenant, seed, anew),
        spent: (seed) => this.#creator.hasTakenBack(seed, request.count ?? 1),
      },
      async (seed, isUnchecked) =>
        (await this.#creator.create(tenant, request, { seed, isUnchecked })).map(({ id }) => id),
    );
    return await Promise.all(ids.map((id) => this.#made(tenant, id)));
  }

  /** @throws ServiceError `sandbox_not_found`, for those of other tenants too. */
  get(tenant: string, id: string): Sandbox {
    return this.#view(this.entry(tenant, id));
  }

  /** As `get`, once it runs or has ended, or after `waitMs`. */
  async wait(
    tenant: string,
    id: string,
    options: { waitMs: number; signal?: AbortSignal | undefined },
  ): Promise<Sandbox> {
    const entry = this.entry(tenant, id);
    await entry.wait(() => entry.ended || entry.record.status === 'RUNNING', options.waitMs, options.signal);
    return this.#view(entry);
  }

  /**
   * Oldest first. A cursor stays valid while sandboxes come and go: none is listed twice, and none that existed all the
   * time is left out. Of nodes that are not heard, those are listed of which this gateway knows; see `isSure`.
   * @throws ServiceError `invalid_request` for an invalid cursor, `node_unavailable` while this gateway has only just
   * started and waits for its nodes' first words.
   */
  list(
    tenant: string,
    filter: SandboxFilter = {},
    page: { cursor?: string | undefined; limit?: number | undefined } = {},
  ): Page {
    if (this.#isLearning) throw this.#unsure({ retryAfterMs: UNSURE_RETRY_MS });
    const after = page.cursor === undefined ? null : decodeCursor(page.cursor);
    if (after === undefined) throw new ServiceError('invalid_request', 'not a cursor of this service');
    const limit = Math.min(MAX_PAGE, page.limit ?? DEFAULT_PAGE);
    const found: Entry[] = [];
    for (const entry of this.#deps.store.of(tenant, after)) {
      if (!matches(entry, filter)) continue;
      found.push(entry);
      if (found.length > limit) break;
    }
    const shown = found.slice(0, limit);
    const last = shown.at(-1);
    const more = found.length > limit && last !== undefined;
    return { sandboxes: shown.map((entry) => this.#view(entry)), nextCursor: more ? encodeCursor(last) : null };
  }

  /** It counts as deleted at once, even while it is being created. Deleting an ended sandbox does nothing. */
  async delete(tenant: string, id: string): Promise<Sandbox> {
    const entry = this.entry(tenant, id);
    await this.#delete(entry);
    return entry.view();
  }

  /**
   * Deletes all matching sandboxes that have not ended. Resolves with their number.
   * @throws ServiceError `node_unavailable` if there may be more that are not known here; those that are known were deleted
   */
  async deleteWhere(tenant: string, filter: SandboxFilter): Promise<number> {
    const entries = [...this.#deps.store.of(tenant, null)].filter((entry) => matches(entry, filter));
    const alive = entries.filter((entry) => !entry.ended).length;
    // Whatever is heard of from now on may have been there when this began.
    const { isSure } = this;
    await Promise.all(entries.map((entry) => this.#delete(entry)));
    if (!isSure) throw this.#unsure({ retryAfterMs: UNSURE_RETRY_MS, details: { deleted: alive } });
    return alive;
  }

  /**
   * Lets it live until `timeoutMs` from now.
   * @throws ServiceError `sandbox_ended`, `node_unavailable`
   */
  async extend(tenant: string, id: string, timeoutMs: number): Promise<Sandbox> {
    const sentAtMs = this.#deps.now();
    return this.#extend(tenant, id, { expiresAtMs: sentAtMs + Math.min(timeoutMs, MAX_TIMEOUT_MS), sentAtMs });
  }

  /** Counts as a use of the sandbox: its idle timeout starts anew. */
  async keepAlive(tenant: string, id: string): Promise<Sandbox> {
    // No `sentAtMs`: the expiry was reported by the node, in its own clock.
    return this.#extend(tenant, id, { expiresAtMs: this.entry(tenant, id).record.expiresAtMs });
  }

  /** Total resources of a tenant's live sandboxes, as far as this gateway knows. */
  usage(tenant: string): { sandboxes: number; cpus: number; memoryMb: number } {
    const sum = { sandboxes: 0, cpus: 0, memoryMb: 0 };
    for (const { ended, record } of this.#deps.store.of(tenant, null)) {
      if (ended) continue;
      sum.sandboxes += 1;
      sum.cpus += record.cpus;
      sum.memoryMb += record.memoryMb;
    }
    return { ...sum, cpus: Math.round(sum.cpus * 1000) / 1000 };
  }

  /**
   * Calls the listener on each change of a tenant's sandboxes, until the returned function is called. It must not
   * throw.
   */
  subscribe(tenant: string, listener: (sandbox: Sandbox) => void): () => void {
    return this.#deps.store.onChange((entry) => {
      if (entry.tenant === tenant) listener(entry.view());
    });
  }

  /** How many wait before it for a node; null when it does not wait. */
  queuePosition(id: string): number | null {
    return this.#deps.queue.position(id);
  }

  /**
   * The node that has it, if a stream can be opened there now.
   * @throws ServiceError `sandbox_not_found`, `sandbox_ended`
   */
  locateNow(tenant: string, id: string): Node | null {
    if (this.#deps.unknownIds.mayAppear(id)) return null;
    const entry = this.#alive(tenant, id);
    return entry.accepted && entry.node !== null && entry.node.up ? entry.node : null;
  }

  /**
   * The node that has it, as soon as a stream can be opened there. Calls that come early wait here.
   * @throws ServiceError `sandbox_not_found`, `sandbox_ended`, `node_unavailable`, `capacity_exhausted`, the signal's
   * reason.
   */
  async locate(tenant: string, id: string, signal?: AbortSignal): Promise<Node> {
    await this.#deps.unknownIds.wait(id);
    for (;;) {
      const entry = this.#alive(tenant, id);
      if (entry.accepted && entry.node !== null) {
        if (entry.node.up) return entry.node;
        await entry.node.whenUp(this.#deps.config.linkPatienceMs, signal);
        continue;
      }
      const placed = await entry.wait(() => entry.accepted || entry.ended, this.#deps.config.queueWaitMs, signal);
      signal?.throwIfAborted();
      if (placed) continue;
      const queuePosition = this.queuePosition(id);
      const details = queuePosition === null ? {} : { details: { queuePosition } };
      throw new ServiceError('capacity_exhausted', undefined, { retryAfterMs: 1_000, ...details });
    }
  }

  /** @throws ServiceError `sandbox_not_found`, or `node_unavailable` while it may still be heard of */
  entry(tenant: string, id: string): Entry {
    const entry = this.#deps.store.get(id);
    // Another tenant's sandbox must look like one that never existed.
    if (entry !== undefined && entry.tenant === tenant) return entry;
    const { registry, config, unknownIds } = this.#deps;
    if (this.isSure) {
      if (!unknownIds.isFull) throw new ServiceError('sandbox_not_found');
      const message = 'Too many calls wait for sandboxes that this server does not know yet; this may be one of those.';
      throw new ServiceError('node_unavailable', message, { retryAfterMs: UNSURE_RETRY_MS });
    }
    throw this.#unsure({
      retryAfterMs: registry.learningWithin(config.nodeGraceMs) ? LEARNING_RETRY_MS : UNSURE_RETRY_MS,
    });
  }

  /** Whether all sandboxes are known here: each node was heard, and what waits is known. */
  get isSure(): boolean {
    const { registry, queue, unknownIds } = this.#deps;
    return !registry.mayHaveMore(unknownIds.hasOtherGateways) && queue.informed;
  }

  /** Whether this gateway has just started, and has not yet learnt which sandboxes exist. */
  get #isLearning(): boolean {
    const { registry, queue } = this.#deps;
    return registry.learningWithin(SETTLE_MS) || (!queue.informed && registry.startedWithin(SETTLE_MS));
  }

  /** Says what to look at: a node, or what gateways share. */
  #unsure(options: ServiceErrorOptions): ServiceError {
    const { registry, queue, unknownIds } = this.#deps;
    const missing = registry.mayHaveMore(unknownIds.hasOtherGateways) || queue.informed ? 'one of its nodes' : 'Redis';
    const message = `this server cannot reach ${missing} right now, so it does not know all sandboxes`;
    return new ServiceError('node_unavailable', message, options);
  }

  #alive(tenant: string, id: string): Entry {
    const entry = this.entry(tenant, id);
    if (!entry.ended) return entry;
    throw new ServiceError('sandbox_ended', entry.record.message ?? undefined, { details: endOf(entry.record) });
  }

  /** A sandbox that was made under this key before, perhaps through another gateway a moment ago. */
  async #made(tenant: string, id: string): Promise<Sandbox> {
    await this.#deps.unknownIds.wait(id);
    if (this.#deps.store.get(id) !== undefined) return this.get(tenant, id);
    const message =
      'the sandbox was created through another server, and this one is not connected to its node right now';
    throw new ServiceError('node_unavailable', message, { retryAfterMs: LEARNING_RETRY_MS });
  }

  #view(entry: Entry): Sandbox {
    const position = entry.node === null ? this.#deps.queue.position(entry.id) : null;
    return position === null ? entry.view() : { ...entry.view(), queuePosition: position };
  }

  async #delete(entry: Entry, message: string | null = null): Promise<void> {
    const { store, queue } = this.#deps;
    if (entry.ended) {
      const ended = store.renounce(entry);
      if (ended !== null) await resolvesWithin(Promise.resolve(queue.recordEnd(ended)), DELETE_PATIENCE_MS);
      return;
    }
    const { node } = entry;
    queue.remove(entry.id);
    store.end(entry, 'deleted', message);
    const gone = [
      ...(node === null ? [] : [this.#reap(entry, node, message)]),
      ...(entry.accepted ? [] : [Promise.resolve(queue.recordEnd(entry.record))]),
    ];
    await resolvesWithin(Promise.all(gone), DELETE_PATIENCE_MS);
  }

  async #reap(entry: Entry, node: Node, message: string | null): Promise<void> {
    const { queue, reaper } = this.#deps;
    await reaper.reap(node, entry.id, 'deleted', message);
    // Another gateway may reach the node, or be the first that hears it again.
    if (entry.accepted && entry.isOwed) await queue.recordEnd(entry.record);
  }

  async #extend(tenant: string, id: string, until: { expiresAtMs: number; sentAtMs?: number }): Promise<Sandbox> {
    const node = await this.locate(tenant, id);
    const answer = await node.call({ op: 'extend', sandbox: id, ...until }, EXTEND_DEADLINE_MS);
    this.#deps.store.take(node, parseRecord(answer, id));
    return this.get(tenant, id);
  }
}

function matches(entry: Entry, filter: SandboxFilter): boolean {
  const { record } = entry;
  if (filter.status !== undefined && !filter.status.includes(record.status)) return false;
  if (filter.name !== undefined && record.name !== filter.name) return false;
  return Object.entries(filter.labels ?? {}).every(
    ([key, value]) => Object.hasOwn(record.labels, key) && record.labels[key] === value,
  );
}
