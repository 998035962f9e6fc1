/**
 * The sandboxes this node knows: indexed by id, recorded on disk, and announced to listeners. An ended one is kept for
 * an hour.
 */
import type { Logger } from '../../src/lib/logger.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import type { SandboxRecord } from '../../src/protocol/node.ts';
import type { RecordStore, StoredSandbox } from './record-store.ts';
import type { Sandbox } from './sandbox.ts';
import { Tombstones } from './tombstones.ts';

export type SandboxChange = { type: 'changed'; record: SandboxRecord } | { type: 'forgotten'; id: string };

export class Ledger {
  readonly #store: RecordStore;
  readonly #log: Logger;
  readonly #all = new Map<string, Sandbox>();
  readonly #tombstones: Tombstones;
  readonly #listeners = new Set<(change: SandboxChange) => void>();

  constructor(store: RecordStore, log: Logger) {
    this.#store = store;
    this.#log = log;
    this.#tombstones = new Tombstones((id) => this.#forget(id), log);
  }

  onChange(listener: (change: SandboxChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  all(): IterableIterator<Sandbox> {
    return this.#all.values();
  }

  /** Sandboxes that have not ended. */
  *living(): Generator<Sandbox> {
    for (const sandbox of this.#all.values()) if (!sandbox.ended) yield sandbox;
  }

  find(id: string): Sandbox | undefined {
    return this.#all.get(id);
  }

  /** @throws ServiceError `sandbox_not_found`. */
  get(id: string): Sandbox {
    const sandbox = this.#all.get(id);
    if (sandbox === undefined) throw new ServiceError('sandbox_not_found');
    return sandbox;
  }

  /** Adds a new sandbox, without announcing it. */
  add(sandbox: Sandbox): void {
    this.#all.set(sandbox.id, sandbox);
  }

  /** Undoes `add`, before any announcement. */
  remove(sandbox: Sandbox): void {
    this.#all.delete(sandbox.id);
  }

  /** Adds a sandbox from an earlier agent's record. */
  adopt(sandbox: Sandbox, stored: StoredSandbox): void {
    sandbox.recorded = true;
    this.#all.set(sandbox.id, sandbox);
    if (!sandbox.ended) return;
    this.#store.seal(stored);
    this.#tombstones.add(sandbox.record);
  }

  /**
   * Records a sandbox in its current state.
   * @throws Error from the file system: its previous record then still counts.
   */
  save(sandbox: Sandbox): StoredSandbox {
    const { record, spec, containerId, image, usedUntilMs, oomKills } = sandbox;
    const stored = { version: 1, record, spec, containerId, image, usedUntilMs, oomKills } as const;
    this.#store.save(stored);
    sandbox.recorded = true;
    return stored;
  }

  /** As `save`, for a change that a caller relies on. @throws ServiceError `internal`. */
  record(sandbox: Sandbox): void {
    try {
      this.save(sandbox);
    } catch (error) {
      throw this.unrecorded(sandbox, error);
    }
  }

  announce({ record }: Sandbox): void {
    this.#emit({ type: 'changed', record });
  }

  /** Records and announces that a sandbox has ended. It has ended even if that cannot be recorded. */
  bury(sandbox: Sandbox): void {
    try {
      this.#store.seal(this.save(sandbox));
    } catch (error) {
      this.unrecorded(sandbox, error);
    }
    this.announce(sandbox);
    this.#tombstones.add(sandbox.record);
  }

  /** Logs that a change of a sandbox cannot be recorded. Returns the error for the caller. */
  unrecorded({ id }: Sandbox, error: unknown): ServiceError {
    this.#log.error({ err: error, sandbox: id }, 'a sandbox record cannot be written');
    return new ServiceError('internal', 'the node cannot write its records', { cause: error });
  }

  close(): void {
    this.#tombstones.close();
    this.#listeners.clear();
  }

  #forget(id: string): void {
    this.#all.delete(id);
    try {
      this.#store.remove(id);
    } catch (error) {
      // The next agent finds the record, sees that its time is up, and tries again.
      this.#log.error({ err: error, sandbox: id }, 'the record of an ended sandbox cannot be removed');
    }
    this.#emit({ type: 'forgotten', id });
  }

  #emit(change: SandboxChange): void {
    for (const listener of this.#listeners) listener(change);
  }
}
