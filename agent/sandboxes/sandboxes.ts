/** The life cycle of every sandbox on the node: the only place that changes a sandbox's state, up to its end. */
import { background } from '../../src/lib/background.ts';
import type { Logger } from '../../src/lib/logger.ts';
import { ServiceError, type ErrorCode } from '../../src/protocol/errors.ts';
import { ID_PATTERN } from '../../src/protocol/ids.ts';
import type { SandboxRecord, SandboxSpec } from '../../src/protocol/node.ts';
import type { EndReason } from '../../src/protocol/sandbox.ts';
import type { Launched, Launcher } from '../pool/launcher.ts';
import type { Exit } from '../runtime/exit-listeners.ts';
import type { Capacity } from './capacity.ts';
import { Containers } from './containers.ts';
import { Deadlines } from './deadlines.ts';
import { EarlyDeletes } from './early-deletes.ts';
import { LastUses } from './last-uses.ts';
import { Ledger, type SandboxChange } from './ledger.ts';
import type { RecordStore, StoredSandbox } from './record-store.ts';
import { Sandbox, hereFrom, newRecord } from './sandbox.ts';

const ENDED = 'the container ended by itself';
const PERHAPS_OOM = `${ENDED}, possibly out of memory: the cause cannot be determined`;

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

export class Sandboxes {
  readonly #options: SandboxesOptions;
  readonly #ledger: Ledger;
  readonly #containers: Containers;
  readonly #deadlines: Deadlines;
  readonly #earlyDeletes = new EarlyDeletes();
  readonly #uses: LastUses;
  #draining = false;

  constructor(options: SandboxesOptions) {
    this.#options = options;
    const { store, launcher, log } = options;
    this.#ledger = new Ledger(store, log);
    this.#deadlines = new Deadlines((sandbox, reason, message) => this.end(sandbox, reason, message), log);
    this.#containers = new Containers(launcher);
    this.#uses = new LastUses({
      dataDir: store.dataDir,
      living: () => this.#ledger.living(),
      save: (sandbox) => void this.#ledger.save(sandbox),
      log,
    });
  }

  drain(on: boolean): void {
    this.#draining = on;
  }

  onChange(listener: (change: SandboxChange) => void): () => void {
    return this.#ledger.onChange(listener);
  }

  list(): SandboxRecord[] {
    return [...this.#ledger.all()].map((sandbox) => sandbox.record);
  }

  has(id: string): boolean {
    return this.#ledger.find(id) !== undefined;
  }

  /** @throws ServiceError `sandbox_not_found`. */
  get(id: string): Sandbox {
    return this.#ledger.get(id);
  }

  ownerOf(containerId: string): Sandbox | undefined {
    return this.#containers.ownerOf(containerId);
  }

  /**
   * Accepts a sandbox, which starts after this returns. A known id returns the existing sandbox.
   * @throws ServiceError `capacity_exhausted`, `draining`, `invalid_request`, `sandbox_ended` if its delete arrived
   * first, `internal` if it cannot be recorded. Nothing of it is left then.
   */
  create(spec: SandboxSpec): Sandbox {
    const existing = this.#ledger.find(spec.id);
    if (existing !== undefined) return existing;
    if (!ID_PATTERN.test(spec.id)) throw new ServiceError('invalid_request', 'not a sandbox id');
    if (this.#earlyDeletes.has(spec.id))
      throw new ServiceError('sandbox_ended', 'the sandbox has already been deleted');
    if (this.#draining) throw new ServiceError('draining', 'this node accepts no new sandboxes');
    this.#options.capacity.reserve(spec);
    const sandbox = new Sandbox(spec, newRecord(spec, Date.now()));
    this.#ledger.add(sandbox);
    this.#deadlines.lifetime(sandbox);
    this.#provision(sandbox);
    try {
      if (!sandbox.recorded) this.#changed(sandbox);
    } catch (error) {
      // It was never announced.
      sandbox.end({ reason: 'internal', message: null }, Date.now());
      this.#ledger.remove(sandbox);
      this.#giveUp(sandbox);
      throw error;
    }
    return sandbox;
  }

  /** @throws ServiceError `sandbox_not_found`; a later create of this id is refused. */
  delete(id: string, reason: EndReason, message: string | null = null): SandboxRecord {
    const sandbox = this.#ledger.find(id);
    if (sandbox === undefined) {
      this.#earlyDeletes.add(id);
      throw new ServiceError('sandbox_not_found');
    }
    if (!sandbox.ended) this.end(sandbox, reason, message);
    return sandbox.record;
  }

  /**
   * Sets when the sandbox expires. `sentAtMs`: the sender's time; if absent, `expiresAtMs` is by this node's clock.
   * @throws ServiceError `sandbox_not_found`, `sandbox_ended`; `internal` if it cannot be recorded, and the expiry is
   * then unchanged.
   */
  extend(id: string, expiresAtMs: number, sentAtMs?: number): SandboxRecord {
    const sandbox = this.get(id);
    if (sandbox.ended) throw sandbox.endedError();
    const before = sandbox.record;
    sandbox.record = { ...before, expiresAtMs: hereFrom(expiresAtMs, sentAtMs, Date.now()) };
    sandbox.touch();
    this.#uses.stamp(sandbox);
    try {
      this.#ledger.record(sandbox);
    } catch (error) {
      sandbox.record = before;
      throw error;
    }
    this.#deadlines.lifetime(sandbox);
    this.#ledger.announce(sandbox);
    return sandbox.record;
  }

  /**
   * Gives the sandbox its container. False if the sandbox has ended meanwhile; the container is then destroyed.
   * @throws ServiceError `internal` if it cannot be recorded. The container is then destroyed too.
   */
  place(sandbox: Sandbox, launched: Launched, warm: boolean): boolean {
    try {
      if (!this.#containers.place(sandbox, launched)) return false;
    } catch (error) {
      throw this.#ledger.unrecorded(sandbox, error);
    }
    const timings = { ...sandbox.record.timings, claimedMs: sandbox.ageMs, warm };
    if (sandbox.record.status === 'PENDING') sandbox.move('PROVISIONING', { timings });
    else sandbox.record = { ...sandbox.record, timings };
    this.#changed(sandbox);
    return true;
  }

  /** Takes a broken container away again, before any user code has run in it. */
  unplace(sandbox: Sandbox): void {
    this.#containers.unplace(sandbox);
  }

  /** @throws ServiceError `internal` if it cannot be recorded. */
  provisioning(sandbox: Sandbox): void {
    if (sandbox.record.status !== 'PENDING') return;
    sandbox.move('PROVISIONING');
    this.#changed(sandbox);
  }

  /**
   * From now on an exec works. Recorded before the waiting calls are let in.
   * @throws ServiceError `internal` if it cannot be recorded: it has then ended, and no call was let in.
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

  /** Ends a sandbox; its container is destroyed after this returns. No effect if it has already ended. */
  end(sandbox: Sandbox, reason: EndReason, message: string | null, errorCode?: ErrorCode): void {
    if (sandbox.ended) return;
    sandbox.end({ reason, message, errorCode }, Date.now());
    // Announced to gateways first, so that a client whose call fails finds the sandbox ended.
    this.#ledger.bury(sandbox);
    sandbox.tellEnd();
    this.#giveUp(sandbox);
  }

  /** Adopts a sandbox from an earlier agent's record. `launched`: its container, if that is alive. */
  adopt(stored: StoredSandbox, launched: Launched | null): Sandbox {
    const sandbox = new Sandbox(stored.spec, stored.record, stored.containerId);
    sandbox.usedUntilMs = stored.usedUntilMs;
    sandbox.oomKills = stored.oomKills;
    this.#ledger.adopt(sandbox, stored);
    if (sandbox.ended) return sandbox;
    this.#options.capacity.take(sandbox.record.memoryMb);
    this.#deadlines.lifetime(sandbox);
    if (launched !== null) this.#containers.adopt(sandbox, launched);
    return sandbox;
  }

  /** After `adopt`: continues a sandbox that was running. */
  resume(sandbox: Sandbox): void {
    this.#uses.resume(sandbox);
    this.#attend(sandbox);
  }

  /** Writes what only the next agent needs. Never throws: nothing here depends on it. */
  note(sandbox: Sandbox): void {
    if (sandbox.ended) return;
    try {
      this.#ledger.save(sandbox);
    } catch (error) {
      this.#ledger.unrecorded(sandbox, error);
    }
  }

  /** After `adopt`: starts a sandbox that was not running yet; nothing has run in it. */
  restart(sandbox: Sandbox): void {
    this.#provision(sandbox);
  }

  /** The runtime reports that a container has stopped. */
  exited(containerId: string, { oomKilled }: Exit): void {
    const sandbox = this.ownerOf(containerId);
    if (sandbox === undefined || sandbox.ended) return;
    if (!sandbox.running) return sandbox.launched?.link.close();
    if (oomKilled === true) this.end(sandbox, 'oom', 'out of memory');
    else this.end(sandbox, 'internal', oomKilled === null ? PERHAPS_OOM : ENDED);
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
    const living = [...this.#ledger.living()];
    for (const sandbox of living) this.end(sandbox, reason, message);
    await Promise.all(living.map((sandbox) => this.#containers.destroy(sandbox)));
  }

  close(): void {
    this.#uses.close();
    this.#deadlines.close();
    this.#ledger.close();
    for (const sandbox of this.#ledger.all()) {
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
      this.end(sandbox, ofImage ? 'image_pull_failed' : 'start_failed', failure.message, failure.code);
    });
    background(work, 'provisioning', this.#options.log);
  }

  /** Follows a running sandbox's link to boxinit. */
  #attend(sandbox: Sandbox): void {
    this.#deadlines.idle(sandbox);
    const link = sandbox.launched?.link;
    if (link === undefined) return;
    link.events = {
      connected: () => {
        this.#deadlines.reconnected(sandbox);
        sandbox.linkIsBack();
      },
      disconnected: () => this.#deadlines.silent(sandbox),
      hostile: (error) => this.end(sandbox, 'internal', `the supervisor violated the protocol: ${error.message}`),
    };
    if (!link.connected) this.#deadlines.silent(sandbox);
  }

  /** Releases what an ended sandbox holds: its timers, its container, and, once that is gone, its place on the node. */
  #giveUp(sandbox: Sandbox): void {
    this.#deadlines.cancel(sandbox);
    void this.#containers.destroy(sandbox).then(() => this.#options.capacity.release(sandbox.record.memoryMb));
  }

  /**
   * Records and announces a change. A change that cannot be recorded would be lost with the agent, so the sandbox then
   * ends, visibly, before anything can rely on it; unless the sandbox has not been announced yet.
   * @throws ServiceError `internal` if it cannot be recorded.
   */
  #changed(sandbox: Sandbox): void {
    try {
      this.#ledger.record(sandbox);
    } catch (error) {
      if (sandbox.recorded) this.end(sandbox, 'internal', ServiceError.from(error).message);
      throw error;
    }
    this.#ledger.announce(sandbox);
  }
}
