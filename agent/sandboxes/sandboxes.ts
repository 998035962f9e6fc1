/** All sandboxes of the node: the one place that changes them, records the change and announces it. */
import { background } from '../../src/lib/background.ts';
import type { Logger } from '../../src/lib/logger.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import { ID_PATTERN } from '../../src/protocol/ids.ts';
import type { SandboxRecord, SandboxSpec } from '../../src/protocol/node.ts';
import type { EndReason } from '../../src/protocol/sandbox.ts';
import type { Launched, Launcher } from '../pool/launcher.ts';
import type { Capacity } from './capacity.ts';
import { Deadlines } from './deadlines.ts';
import { EarlyDeletes } from './early-deletes.ts';
import { LastUses } from './last-uses.ts';
import type { RecordStore, StoredSandbox } from './record-store.ts';
import { Sandbox, hereFrom, newRecord, statusFor } from './sandbox.ts';
import { Tombstones } from './tombstones.ts';

interface SandboxesOptions {
  store: RecordStore;
  capacity: Capacity;
  launcher: Launcher;
  log: Logger;
  /** Takes a sandbox from PENDING to RUNNING. A rejection ends it. */
  provision(sandbox: Sandbox): Promise<void>;
  /** Called once a sandbox runs. */
  started(sandbox: Sandbox): void;
}

export type SandboxChange = { type: 'changed'; record: SandboxRecord } | { type: 'forgotten'; id: string };

export class Sandboxes {
  readonly #options: SandboxesOptions;
  readonly #all = new Map<string, Sandbox>();
  readonly #byContainer = new Map<string, Sandbox>();
  readonly #deadlines = new Deadlines((sandbox, reason, message) => this.end(sandbox, reason, message));
  readonly #tombstones = new Tombstones((id) => this.#forget(id));
  readonly #earlyDeletes = new EarlyDeletes();
  readonly #uses: LastUses;
  readonly #listeners = new Set<(change: SandboxChange) => void>();
  #draining = false;

  constructor(options: SandboxesOptions) {
    this.#options = options;
    const { store, log } = options;
    const living = (): Iterable<Sandbox> => this.living();
    this.#uses = new LastUses({ dataDir: store.dataDir, living, save: (sandbox) => void this.#save(sandbox), log });
  }

  get draining(): boolean {
    return this.#draining;
  }

  drain(on: boolean): void {
    this.#draining = on;
  }

  onChange(listener: (change: SandboxChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  list(): SandboxRecord[] {
    return [...this.#all.values()].map((sandbox) => sandbox.record);
  }

  /** Sandboxes that have not ended. */
  *living(): Generator<Sandbox> {
    for (const sandbox of this.#all.values()) if (!sandbox.ended) yield sandbox;
  }

  has(id: string): boolean {
    return this.#all.has(id);
  }

  /** @throws ServiceError `sandbox_not_found`. */
  get(id: string): Sandbox {
    const sandbox = this.#all.get(id);
    if (sandbox === undefined) throw new ServiceError('sandbox_not_found');
    return sandbox;
  }

  ownerOf(containerId: string): Sandbox | undefined {
    return this.#byContainer.get(containerId);
  }

  /**
   * Accepts a sandbox; it starts after the return. A known id returns the existing sandbox.
   * @throws ServiceError `capacity_exhausted`, `draining`, `invalid_request`, `sandbox_ended` if its delete arrived first,
   * `internal` if it cannot be recorded. Nothing of it is left then.
   */
  create(spec: SandboxSpec): Sandbox {
    const existing = this.#all.get(spec.id);
    if (existing !== undefined) return existing;
    if (!ID_PATTERN.test(spec.id)) throw new ServiceError('invalid_request', 'an id that is not one of ours');
    if (this.#earlyDeletes.has(spec.id))
      throw new ServiceError('sandbox_ended', 'the sandbox has already been deleted');
    if (this.#draining) throw new ServiceError('draining', 'this node takes no new sandboxes');
    this.#options.capacity.reserve(spec);
    const sandbox = new Sandbox(spec, newRecord(spec, Date.now()));
    this.#all.set(spec.id, sandbox);
    this.#deadlines.lifetime(sandbox);
    this.#provision(sandbox);
    try {
      if (!sandbox.recorded) this.#changed(sandbox);
    } catch (error) {
      this.#takeBack(sandbox);
      throw error;
    }
    return sandbox;
  }

  /** @throws ServiceError `sandbox_not_found`; a later create of this id is refused. */
  delete(id: string, reason: EndReason, message: string | null = null): SandboxRecord {
    const sandbox = this.#all.get(id);
    if (sandbox === undefined) {
      this.#earlyDeletes.add(id);
      throw new ServiceError('sandbox_not_found');
    }
    if (!sandbox.ended) this.end(sandbox, reason, message);
    return sandbox.record;
  }

  /**
   * Sets when the sandbox expires. `sentAtMs`: the sender's time; absent, `expiresAtMs` is by this node's clock.
   * @throws ServiceError `sandbox_not_found`, `sandbox_ended`; `internal` if it cannot be recorded, and then it expires
   * when it would have.
   */
  extend(id: string, expiresAtMs: number, sentAtMs?: number): SandboxRecord {
    const sandbox = this.get(id);
    if (sandbox.ended) throw sandbox.endedError();
    const before = sandbox.record;
    sandbox.record = { ...before, expiresAtMs: hereFrom(expiresAtMs, sentAtMs, Date.now()) };
    sandbox.touch();
    this.#uses.stamp(sandbox);
    try {
      this.#save(sandbox);
    } catch (error) {
      sandbox.record = before;
      throw this.#unrecorded(sandbox, error);
    }
    this.#deadlines.lifetime(sandbox);
    this.#emit({ type: 'changed', record: sandbox.record });
    return sandbox.record;
  }

  /**
   * Gives the sandbox its container. False if the sandbox has ended meanwhile; the container is destroyed then.
   * @throws ServiceError `internal` if it cannot be recorded. The container is destroyed then too.
   */
  place(sandbox: Sandbox, launched: Launched, warm: boolean): boolean {
    if (sandbox.ended || sandbox.provisioning.signal.aborted) {
      void this.#options.launcher.discard(launched.container.id, launched.link);
      return false;
    }
    try {
      this.#options.launcher.claimed(launched);
    } catch (error) {
      void this.#options.launcher.discard(launched.container.id, launched.link);
      throw this.#unrecorded(sandbox, error);
    }
    sandbox.launched = launched;
    sandbox.containerId = launched.container.id;
    this.#byContainer.set(launched.container.id, sandbox);
    const timings = { ...sandbox.record.timings, claimedMs: sandbox.ageMs, warm };
    if (sandbox.record.status === 'PENDING') sandbox.move('PROVISIONING', { timings });
    else sandbox.record = { ...sandbox.record, timings };
    this.#changed(sandbox);
    return true;
  }

  /** Takes a broken container away again, before any user code ran in it. */
  unplace(sandbox: Sandbox): void {
    const launched = sandbox.launched;
    if (sandbox.containerId !== null) this.#byContainer.delete(sandbox.containerId);
    sandbox.launched = null;
    sandbox.containerId = null;
    if (launched !== null) void this.#options.launcher.discard(launched.container.id, launched.link);
  }

  /** @throws ServiceError `internal` if it cannot be recorded. */
  provisioning(sandbox: Sandbox): void {
    if (sandbox.record.status !== 'PENDING') return;
    sandbox.move('PROVISIONING');
    this.#changed(sandbox);
  }

  /**
   * An exec works from now on. Recorded before the waiting calls are let in.
   * @throws ServiceError `internal` if it cannot be recorded: then it has ended, and no call was let in.
   */
  run(sandbox: Sandbox): void {
    const timings = { ...sandbox.record.timings, runningMs: sandbox.ageMs };
    sandbox.move('RUNNING', { startedAtMs: Date.now(), timings });
    this.#uses.stamp(sandbox);
    this.#attend(sandbox);
    this.#changed(sandbox);
    sandbox.letIn();
    if (!sandbox.ended) this.#options.started(sandbox);
  }

  /** Ends a sandbox; its container is destroyed after the return. No effect on one that has ended. */
  end(sandbox: Sandbox, reason: EndReason, message: string | null): void {
    if (sandbox.ended) return;
    sandbox.end(statusFor(reason), reason, message, Date.now());
    // Gateways are told first, so that a client whose call fails finds the sandbox ended.
    this.#changed(sandbox);
    sandbox.tellEnd();
    this.#tombstones.add(sandbox.record);
    this.#giveUp(sandbox);
  }

  /** Takes over a sandbox from an earlier agent's record. `launched`: its container, if it lives. */
  adopt(stored: StoredSandbox, launched: Launched | null): Sandbox {
    const sandbox = new Sandbox(stored.spec, stored.record, launched === null ? null : stored.containerId);
    sandbox.usedUntilMs = stored.usedUntilMs;
    sandbox.recorded = true;
    this.#all.set(sandbox.id, sandbox);
    if (sandbox.ended) {
      this.#options.store.seal(stored);
      this.#tombstones.add(sandbox.record);
      return sandbox;
    }
    this.#options.capacity.take(sandbox.record.memoryMb);
    this.#deadlines.lifetime(sandbox);
    if (launched !== null) {
      sandbox.launched = launched;
      this.#byContainer.set(launched.container.id, sandbox);
    }
    return sandbox;
  }

  /** After `adopt`: continues a sandbox that was running. */
  resume(sandbox: Sandbox): void {
    this.#uses.resume(sandbox);
    this.#attend(sandbox);
    if (sandbox.launched?.link.connected !== true) this.#deadlines.silent(sandbox);
  }

  /** After `adopt`: starts a sandbox that did not run yet; nothing has run in it. */
  restart(sandbox: Sandbox): void {
    this.#provision(sandbox);
  }

  /** The runtime reports that a container has stopped. */
  exited(containerId: string, oomKilled: boolean): void {
    const sandbox = this.#byContainer.get(containerId);
    if (sandbox === undefined || sandbox.ended) return;
    if (!sandbox.running) return sandbox.launched?.link.close();
    this.end(sandbox, oomKilled ? 'oom' : 'internal', oomKilled ? 'out of memory' : 'the container ended by itself');
  }

  callBegins(sandbox: Sandbox): void {
    sandbox.callBegins();
    this.#uses.used(sandbox);
  }

  callEnds(sandbox: Sandbox): void {
    sandbox.callEnds();
    this.#uses.used(sandbox);
  }

  /** Ends all sandboxes, and resolves once their containers are gone. */
  async endAll(reason: EndReason, message: string | null): Promise<void> {
    const gone: Promise<void>[] = [];
    for (const sandbox of this.living()) {
      const { containerId } = sandbox;
      this.end(sandbox, reason, message);
      if (containerId !== null) gone.push(this.#options.launcher.discard(containerId));
    }
    await Promise.all(gone);
  }

  close(): void {
    this.#uses.close();
    this.#deadlines.close();
    this.#tombstones.close();
    this.#listeners.clear();
    for (const sandbox of this.#all.values()) {
      sandbox.provisioning.abort(new ServiceError('draining'));
      sandbox.launched?.link.close();
    }
  }

  #provision(sandbox: Sandbox): void {
    const work = this.#options.provision(sandbox).catch((error: unknown) => {
      if (sandbox.ended || sandbox.provisioning.signal.aborted) return;
      const failure = ServiceError.from(error);
      this.#options.log.warn({ err: error, sandbox: sandbox.id }, 'a sandbox could not be started');
      // Gateways eject a node that fails to start sandboxes. An image that is too large for the disk, or takes too long
      // to unpack, must not count as the node's failure: any client could eject nodes by naming one.
      const ofImage = sandbox.image === null || failure.code.startsWith('image_');
      const reason = ofImage ? 'image_pull_failed' : 'start_failed';
      this.end(sandbox, reason, failure.message);
    });
    background(work, 'provisioning', this.#options.log);
  }

  /** Follows the link to boxinit of a running sandbox. */
  #attend(sandbox: Sandbox): void {
    this.#deadlines.idle(sandbox);
    const launched = sandbox.launched;
    if (launched === null) return;
    launched.link.events = {
      connected: () => {
        this.#deadlines.heard(sandbox);
        sandbox.linkIsBack();
      },
      disconnected: () => this.#deadlines.silent(sandbox),
      hostile: (error) => this.end(sandbox, 'internal', `the supervisor broke the protocol: ${error.message}`),
    };
    if (!launched.link.connected) this.#deadlines.silent(sandbox);
  }

  /** Of one that has ended: its timers, its container, and its place on the node once that is gone. */
  #giveUp(sandbox: Sandbox): void {
    const { launched, containerId } = sandbox;
    this.#deadlines.cancel(sandbox);
    sandbox.launched = null;
    const gone = containerId === null ? Promise.resolve() : this.#options.launcher.discard(containerId, launched?.link);
    void gone.then(() => {
      if (containerId !== null) this.#byContainer.delete(containerId);
      this.#options.capacity.release(sandbox.record.memoryMb);
    });
  }

  /** Undoes a create that is being refused. */
  #takeBack(sandbox: Sandbox): void {
    sandbox.end('ERROR', 'internal', null, Date.now());
    this.#all.delete(sandbox.id);
    this.#giveUp(sandbox);
  }

  #forget(id: string): void {
    this.#all.delete(id);
    this.#options.store.remove(id);
    this.#emit({ type: 'forgotten', id });
  }

  /**
   * Records and announces a change. One that cannot be recorded would be lost with the agent, so the sandbox ends then,
   * visibly, before anything can rely on the change; but not one that nobody has been told of yet.
   * @throws ServiceError `internal` if it cannot be recorded.
   */
  #changed(sandbox: Sandbox): void {
    try {
      const stored = this.#save(sandbox);
      if (sandbox.ended) this.#options.store.seal(stored);
    } catch (error) {
      const failure = this.#unrecorded(sandbox, error);
      if (!sandbox.ended) {
        if (sandbox.recorded) this.end(sandbox, 'internal', failure.message);
        throw failure;
      }
    }
    this.#emit({ type: 'changed', record: sandbox.record });
  }

  #unrecorded(sandbox: Sandbox, error: unknown): ServiceError {
    this.#options.log.error({ err: error, sandbox: sandbox.id }, 'a sandbox record cannot be written');
    return new ServiceError('internal', 'the node cannot write its records', { cause: error });
  }

  /** @throws Error of the file system. */
  #save(sandbox: Sandbox): StoredSandbox {
    const { record, spec, containerId, image, usedUntilMs } = sandbox;
    const stored = { version: 1, record, spec, containerId, image, usedUntilMs } as const;
    this.#options.store.save(stored);
    sandbox.recorded = true;
    return stored;
  }

  #emit(change: SandboxChange): void {
    for (const listener of this.#listeners) listener(change);
  }
}
