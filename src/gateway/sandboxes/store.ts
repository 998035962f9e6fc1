/**
 * All sandboxes that this gateway knows: by id, and by tenant and age. It takes what nodes say, with three rules: what
 * has ended stays ended, a sandbox belongs to one node, and nobody changes a sandbox's tenant or age. That a node was
 * lost is this gateway's own guess: when the node is back, its word counts again, unless the sandbox was deleted
 * meanwhile.
 */
import type { Logger } from '../../lib/logger.ts';
import { TOMBSTONE_KEPT_MS } from '../../protocol/limits.ts';
import type { SandboxRecord } from '../../protocol/node.ts';
import { isEnded, type EndReason } from '../../protocol/sandbox.ts';
import type { Node } from '../nodes/node.ts';
import { Entry, endedRecord } from './entry.ts';
import { Ordered, type Position } from './ordered.ts';

export interface StoreEvents {
  changed(entry: Entry): void;
  /** A node has a sandbox alive that has ended, or belongs to another node: it must be told. */
  stray(node: Node, id: string, reason: EndReason): void;
  /** Another node than the sandbox's own has it alive as well. */
  rival(entry: Entry, node: Node): void;
}

const SWEEP_MS = 60_000;
/** A life goes one way. */
const RANK = { PENDING: 0, PROVISIONING: 1, RUNNING: 2, TERMINATED: 3, ERROR: 3, TIMEOUT: 3 } as const;

export class Store {
  readonly #entries = new Map<string, Entry>();
  readonly #tenants = new Map<string, Ordered<Entry>>();
  readonly #byNode = new Map<Node, Set<Entry>>();
  readonly #log: Logger;
  readonly #now: () => number;
  readonly #sweeper: NodeJS.Timeout;
  readonly #listeners = new Set<(entry: Entry) => void>();
  #stray: StoreEvents['stray'] = () => undefined;
  // Sent here once, then elsewhere: the one that it was sent to last has it.
  #rival: StoreEvents['rival'] = ({ id }, node) => this.#stray(node, id, 'internal');

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

  /** Where there is no listener, the node that it was sent to last keeps it. */
  onRival(listener: StoreEvents['rival']): void {
    this.#rival = listener;
  }

  /** Called after each change of any sandbox, until the returned function is called. */
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
    let ordered = this.#tenants.get(entry.tenant);
    if (ordered === undefined) this.#tenants.set(entry.tenant, (ordered = new Ordered()));
    ordered.add(entry);
    return entry;
  }

  /**
   * It never came to be: whoever asked for it was turned down. False, and nothing is done, when a node may have it from
   * here. Where another gateway has made it, for the same key, it stays as that one's.
   */
  discard(entry: Entry): boolean {
    if (entry.sent || entry.accepted || entry.ended) return false;
    const [theirs] = entry.rivals.keys();
    if (theirs !== undefined) {
      this.yield(entry, theirs);
      return true;
    }
    this.assign(entry, null);
    this.#drop(entry);
    return true;
  }

  /** It is being sent to this node (null: to none any more). */
  assign(entry: Entry, node: Node | null): void {
    this.#count(entry, -1);
    entry.node = node;
    entry.accepted = false;
    if (node !== null) entry.rivals.delete(node);
    this.#count(entry, +1);
  }

  /** What a node says of one sandbox. */
  take(node: Node, record: SandboxRecord): void {
    let entry = this.#entries.get(record.id);
    if (entry === undefined) {
      entry = this.add(record);
      entry.node = node;
      entry.accepted = true;
      this.#count(entry, +1);
      return this.#changed(entry);
    }
    if (entry.tenant !== record.tenant) {
      this.#log.warn({ node: node.name, sandbox: record.id }, 'a node claims a sandbox of another tenant');
      return;
    }
    if (isGuess(entry, node)) {
      entry.node = node;
      return this.#replace(entry, this.#kept(entry, record), true);
    }
    if (entry.ended) {
      if (!isEnded(record.status)) {
        this.#stray(node, record.id, entry.renounced ? 'deleted' : (entry.record.reason ?? 'deleted'));
      } else if (entry.node === node && entry.record.reason === record.reason) entry.record = this.#kept(entry, record);
      return;
    }
    if (entry.node === null) this.assign(entry, node);
    if (entry.node !== node) return this.#takeRival(entry, node, record);
    const heir = record.reason === 'internal' ? [...entry.rivals.keys()].find((rival) => rival.up) : undefined;
    if (heir !== undefined) return this.yield(entry, heir);
    // The answer to a create may come behind a change that it does not know of.
    const older = RANK[record.status] < RANK[entry.record.status];
    this.#replace(entry, older ? entry.record : this.#kept(entry, record), true);
  }

  /** What another gateway says of a sandbox that no node has. An end that it tells of holds here too. */
  hear(record: SandboxRecord): void {
    const entry = this.#entries.get(record.id);
    if (entry === undefined) return this.#changed(this.add(record));
    if (!isEnded(record.status) || entry.ended || entry.tenant !== record.tenant) return;
    const { node } = entry;
    this.#replace(entry, record, entry.accepted);
    if (node !== null) this.#stray(node, record.id, record.reason ?? 'deleted');
  }

  /** Another gateway has turned down whoever asked for it. What has been made of it here stays. */
  withdrawn(record: SandboxRecord): void {
    const entry = this.#entries.get(record.id);
    if (entry?.waits && entry.tenant === record.tenant) this.#replace(entry, record, false);
  }

  /** The sandbox is this rival's from now on. */
  yield(entry: Entry, to: Node): void {
    const record = entry.rivals.get(to);
    if (entry.ended || record === undefined) return;
    entry.rivals.delete(to);
    if (entry.node !== null && entry.accepted) entry.rivals.set(entry.node, entry.record);
    this.assign(entry, to);
    this.#replace(entry, this.#kept(entry, record), true);
  }

  /** Ends a sandbox by the gateway's word. Nothing happens if it has ended already. */
  end(entry: Entry, reason: EndReason, message: string | null): void {
    if (entry.ended) return;
    this.#replace(entry, endedRecord(entry.record, reason, message, this.#now()), entry.accepted);
  }

  /** Nobody wants it any more, although it has ended as far as is known: if its node comes back with it, it goes. */
  renounce(entry: Entry): void {
    entry.renounced = true;
  }

  /** All that a node has. What it had before and has no more is gone. */
  snapshot(node: Node, records: readonly SandboxRecord[]): void {
    const present = new Set(records.map((record) => record.id));
    for (const entry of [...this.on(node)]) {
      if (entry.accepted && !entry.ended && !present.has(entry.id)) {
        this.end(entry, 'node_lost', 'The node came back without this sandbox.');
      }
    }
    for (const record of records) this.take(node, record);
  }

  forgotten(node: Node, ids: readonly string[]): void {
    for (const id of ids) {
      const entry = this.#entries.get(id);
      if (entry === undefined || entry.node !== node || !entry.accepted) continue;
      // A record that the gateway has promised to keep is kept here; `sweep` lets it go.
      if (!entry.ended) this.end(entry, 'node_lost', 'The node has forgotten this sandbox.');
    }
  }

  /** Lets go of what ended long ago, and ends what outlived its lifetime without a node to see to it. */
  sweep(): void {
    const now = this.#now();
    for (const entry of [...this.#entries.values()]) {
      if (entry.ended) {
        entry.endSeenAt ??= performance.now();
        if (performance.now() - entry.endSeenAt > TOMBSTONE_KEPT_MS) this.#drop(entry);
        continue;
      }
      entry.endSeenAt = null;
      if (!entry.accepted && now > entry.record.expiresAtMs) {
        this.end(entry, 'lifetime', 'The lifetime was over before the sandbox was placed.');
      }
    }
  }

  stop(): void {
    clearInterval(this.#sweeper);
    this.#listeners.clear();
  }

  #takeRival(entry: Entry, node: Node, record: SandboxRecord): void {
    if (isEnded(record.status)) return void entry.rivals.delete(node);
    entry.rivals.set(node, record);
    this.#rival(entry, node);
  }

  #kept(entry: Entry, record: SandboxRecord): SandboxRecord {
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
    const ordered = this.#tenants.get(entry.tenant);
    ordered?.remove(entry);
    if (ordered?.size === 0) this.#tenants.delete(entry.tenant);
  }

  #changed(entry: Entry): void {
    entry.notify();
    for (const listener of this.#listeners) listener(entry);
  }

  /** Keeps the node's count of living sandboxes. */
  #count(entry: Entry, by: 1 | -1): void {
    const { node } = entry;
    if (node === null || entry.ended) return;
    node.live += by;
    node.liveCpus += by * entry.record.cpus;
    let here = this.#byNode.get(node);
    if (here === undefined) this.#byNode.set(node, (here = new Set()));
    if (by > 0) here.add(entry);
    else here.delete(entry);
  }
}

/** It ended because its node was lost, and that is the node that speaks now. */
function isGuess(entry: Entry, node: Node): boolean {
  const same = entry.node === node || entry.node?.name === node.name;
  return entry.record.reason === 'node_lost' && entry.accepted && !entry.renounced && same;
}
