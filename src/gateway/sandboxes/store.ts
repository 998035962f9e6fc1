/**
 * All sandboxes that this gateway knows, by id and by tenant and age. It applies what nodes report under three rules: a
 * sandbox that has ended stays ended, it belongs to one node, and its tenant and age never change. That a node is lost
 * is only this gateway's assumption: when the node comes back its reports count again, unless the sandbox was deleted
 * meanwhile.
 */
import type { Logger } from '../../lib/logger.ts';
import type { ErrorCode } from '../../protocol/errors.ts';
import { TOMBSTONE_KEPT_MS } from '../../protocol/limits.ts';
import type { SandboxRecord } from '../../protocol/node.ts';
import { isEnded, type EndReason } from '../../protocol/sandbox.ts';
import type { Node } from '../nodes/node.ts';
import { AgeIndex, type Position } from './age-index.ts';
import { isBelief, isGuess } from './assumed-ends.ts';
import { Entry, endedRecord } from './entry.ts';

export interface StoreEvents {
  /** A node runs a sandbox that has ended or belongs to another node: it must be told to delete it. */
  stray(node: Node, id: string, reason: EndReason, message: string | null): void;
  /** A second node reports the sandbox as alive. */
  duplicate(entry: Entry, node: Node): void;
}

const SWEEP_MS = 60_000;
/** A status only ever moves to a later one. */
const RANK = { PENDING: 0, PROVISIONING: 1, RUNNING: 2, TERMINATED: 3, ERROR: 3, TIMEOUT: 3 } as const;

export class Store {
  readonly #entries = new Map<string, Entry>();
  readonly #tenants = new Map<string, AgeIndex<Entry>>();
  readonly #byNode = new Map<Node, Set<Entry>>();
  readonly #log: Logger;
  readonly #now: () => number;
  readonly #sweeper: NodeJS.Timeout;
  readonly #listeners = new Set<(entry: Entry) => void>();
  #stray: StoreEvents['stray'] = () => undefined;
  // It was sent to one node and then to another: the later one keeps it.
  #duplicate: StoreEvents['duplicate'] = ({ id }, node) => this.#stray(node, id, 'internal', null);

  constructor(log: Logger, now: () => number = Date.now) {
    this.#log = log;
    this.#now = now;
    this.#sweeper = setInterval(() => this.sweep(), SWEEP_MS).unref();
  }

  get size(): number {
    return this.#entries.size;
  }

  onStray(listener: StoreEvents['stray']): void {
    this.#stray = listener;
  }

  /** Without a listener the node that it was sent to last keeps it. */
  onDuplicate(listener: StoreEvents['duplicate']): void {
    this.#duplicate = listener;
  }

  /** Calls the listener after each change of any sandbox. Returns the function that removes it. */
  onChange(listener: (entry: Entry) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  get(id: string): Entry | undefined {
    return this.#entries.get(id);
  }

  of(tenant: string, after: Position | null): Iterable<Entry> {
    return this.#tenants.get(tenant)?.from(after) ?? [];
  }

  on(node: Node): Iterable<Entry> {
    return this.#byNode.get(node) ?? [];
  }

  /** A sandbox that is being created here. */
  add(record: SandboxRecord): Entry {
    const entry = new Entry(record);
    this.#entries.set(entry.id, entry);
    let byAge = this.#tenants.get(entry.tenant);
    if (byAge === undefined) this.#tenants.set(entry.tenant, (byAge = new AgeIndex()));
    byAge.add(entry);
    return entry;
  }

  /**
   * Removes a sandbox whose create was refused. Returns false and does nothing if this gateway may have sent it to a
   * node. If another gateway created it for the same idempotency key it stays, as that gateway's.
   */
  discard(entry: Entry): boolean {
    if (entry.sent || entry.accepted || entry.ended) return false;
    const [theirs] = entry.duplicates.keys();
    if (theirs !== undefined) {
      this.handOver(entry, theirs);
      return true;
    }
    this.assign(entry, null);
    this.#drop(entry);
    return true;
  }

  /** It is being sent to this node; null: no longer to any. */
  assign(entry: Entry, node: Node | null): void {
    this.#count(entry, -1);
    entry.node = node;
    entry.accepted = false;
    entry.confirmed = false;
    if (node !== null) entry.duplicates.delete(node);
    this.#count(entry, +1);
  }

  /** Applies a node's report of one sandbox. */
  take(node: Node, record: SandboxRecord): void {
    const entry = this.#entries.get(record.id);
    if (entry === undefined) return this.#meet(node, record);
    if (entry.tenant !== record.tenant) {
      this.#log.warn({ node: node.name, sandbox: record.id }, 'a node claims a sandbox of another tenant');
      return;
    }
    // It was deleted at another gateway, before this one knew the node that has it.
    if (entry.ended && entry.node === null && entry.record.reason === 'deleted') entry.node = node;
    if (entry.node === node) entry.confirmed = isEnded(record.status);
    if (isGuess(entry, node) || isBelief(entry)) {
      entry.node = node;
      return this.#replace(entry, this.#withKnownAge(entry, record), true);
    }
    if (entry.ended) return this.#takeAfterEnd(entry, node, record);
    if (entry.node === null) this.assign(entry, node);
    if (entry.node === node) this.#takeFromOwner(entry, record);
    else this.#takeDuplicate(entry, node, record);
  }

  /**
   * Applies another gateway's report of a sandbox that has no node, or whose node could not be told of a delete. If it
   * was deleted there it is deleted here too. That it has waited for too long does not end what a node has: the other
   * gateway does not hear that node.
   */
  hear(record: SandboxRecord): void {
    const entry = this.#entries.get(record.id);
    if (entry === undefined) return this.#changed(this.add(record));
    const deleted = record.reason === 'deleted';
    if (entry.tenant !== record.tenant) return;
    if (entry.ended) {
      // It waits after all, or was deleted on top of that.
      if (isBelief(entry) && (deleted || !isEnded(record.status))) this.#replace(entry, record, false);
      return;
    }
    if (!isEnded(record.status) || (entry.accepted && !deleted)) return;
    const { node } = entry;
    this.#replace(entry, record, entry.accepted);
    if (deleted && node !== null) this.#reportStray(entry, node);
    // It is on its way to a node: if it arrives, that counts.
    else entry.sent = false;
  }

  /**
   * Another gateway refused the create of this sandbox. If this gateway has sent it to a node meanwhile it stays.
   * Otherwise it is forgotten, since a retry of the create makes a sandbox of the same id.
   * @param record how it ended, for those who wait for it
   */
  withdrawn(record: SandboxRecord): void {
    const entry = this.#entries.get(record.id);
    if (!entry?.waits || entry.tenant !== record.tenant) return;
    this.#replace(entry, record, false);
    this.#drop(entry);
  }

  /** Makes the other node that has it the owner of the sandbox. */
  handOver(entry: Entry, to: Node): void {
    const record = entry.duplicates.get(to);
    if (entry.ended || record === undefined) return;
    entry.duplicates.delete(to);
    if (entry.node !== null && entry.accepted) entry.duplicates.set(entry.node, entry.record);
    this.assign(entry, to);
    this.#replace(entry, this.#withKnownAge(entry, record), true);
  }

  /** Ends a sandbox on the gateway's decision. Does nothing if it has ended already. */
  end(entry: Entry, reason: EndReason, message: string | null, errorCode?: ErrorCode): void {
    if (entry.ended) return;
    const ended = endedRecord(entry.record, reason, message, this.#now());
    this.#replace(entry, { ...ended, errorCode }, entry.accepted);
  }

  /**
   * A client deleted a sandbox that has ended, which may have been a guess: if a node comes back with it, it is deleted
   * there. @returns its final record if it may wait at another gateway, or a node must still be told
   */
  renounce(entry: Entry): SandboxRecord | null {
    const mayWait = isBelief(entry);
    entry.renounced = true;
    return mayWait || entry.isOwed ? endedRecord(entry.record, 'deleted', null, this.#now()) : null;
  }

  /** Applies a node's full list. A sandbox of this node that is not in the list has ended. */
  snapshot(node: Node, records: readonly SandboxRecord[]): void {
    const present = new Set(records.map((record) => record.id));
    for (const entry of [...this.on(node)]) {
      if (entry.accepted && !entry.ended && !present.has(entry.id)) {
        this.end(entry, 'node_lost', 'the node came back without this sandbox');
      }
    }
    for (const record of records) this.take(node, record);
  }

  forgotten(node: Node, ids: readonly string[]): void {
    for (const id of ids) {
      const entry = this.#entries.get(id);
      if (entry === undefined || entry.node !== node || !entry.accepted) continue;
      // The API promises ended records for a while; `sweep` drops them.
      if (!entry.ended) this.end(entry, 'node_lost', 'the node no longer knows this sandbox');
    }
  }

  /**
   * Drops records that ended long ago, unless a node that is away must still be told of a delete. Ends sandboxes past
   * their lifetime that have no node to do it.
   */
  sweep(): void {
    const now = this.#now();
    for (const entry of [...this.#entries.values()]) {
      if (entry.ended) {
        entry.endSeenAt ??= performance.now();
        // No node has it any longer than its lifetime.
        const isOwed = entry.isOwed && now <= entry.record.expiresAtMs;
        if (performance.now() - entry.endSeenAt > TOMBSTONE_KEPT_MS && !isOwed) this.#drop(entry);
        continue;
      }
      entry.endSeenAt = null;
      if (!entry.accepted && now > entry.record.expiresAtMs) {
        this.end(entry, 'lifetime', 'the lifetime was over before the sandbox was placed');
      }
    }
  }

  stop(): void {
    clearInterval(this.#sweeper);
    this.#listeners.clear();
  }

  #reportStray({ id, renounced, record: { reason, message } }: Entry, node: Node): void {
    const why = renounced ? 'deleted' : (reason ?? 'deleted');
    // The message tells other gateways that a create has taken it back.
    this.#stray(node, id, why, reason === 'deleted' ? message : null);
  }

  /** A sandbox that was created elsewhere, or before this gateway started. */
  #meet(node: Node, record: SandboxRecord): void {
    const entry = this.add(record);
    entry.node = node;
    entry.accepted = true;
    entry.confirmed = isEnded(record.status);
    this.#count(entry, +1);
    this.#changed(entry);
  }

  #takeAfterEnd(entry: Entry, node: Node, record: SandboxRecord): void {
    if (!isEnded(record.status)) this.#reportStray(entry, node);
    else if (entry.node === node && entry.record.reason === record.reason)
      entry.record = this.#withKnownAge(entry, record);
  }

  #takeFromOwner(entry: Entry, record: SandboxRecord): void {
    const heir = record.reason === 'internal' ? [...entry.duplicates.keys()].find((other) => other.up) : undefined;
    if (heir !== undefined) return this.handOver(entry, heir);
    // The answer to a create may arrive after a newer change.
    const older = RANK[record.status] < RANK[entry.record.status];
    this.#replace(entry, older ? entry.record : this.#withKnownAge(entry, record), true);
  }

  #takeDuplicate(entry: Entry, node: Node, record: SandboxRecord): void {
    if (isEnded(record.status)) return void entry.duplicates.delete(node);
    entry.duplicates.set(node, record);
    this.#duplicate(entry, node);
  }

  #withKnownAge(entry: Entry, record: SandboxRecord): SandboxRecord {
    return record.createdAtMs === entry.createdAtMs ? record : { ...record, createdAtMs: entry.createdAtMs };
  }

  #replace(entry: Entry, record: SandboxRecord, accepted: boolean): void {
    this.#count(entry, -1);
    entry.record = record;
    entry.accepted = accepted;
    this.#count(entry, +1);
    this.#changed(entry);
  }

  #drop(entry: Entry): void {
    this.#entries.delete(entry.id);
    const byAge = this.#tenants.get(entry.tenant);
    byAge?.remove(entry);
    if (byAge?.size === 0) this.#tenants.delete(entry.tenant);
  }

  #changed(entry: Entry): void {
    entry.notify();
    for (const listener of this.#listeners) listener(entry);
  }

  /** Updates the node's count of live sandboxes. */
  #count(entry: Entry, by: 1 | -1): void {
    const { node } = entry;
    if (node === null || entry.ended) return;
    node.live += by;
    node.liveCpus += by * entry.record.cpus;
    const here = this.#byNode.get(node) ?? new Set();
    if (by > 0) here.add(entry);
    else here.delete(entry);
    // A node that was removed is held by nothing else.
    if (here.size > 0) this.#byNode.set(node, here);
    else this.#byNode.delete(node);
  }
}
