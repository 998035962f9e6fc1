/** One sandbox: its state, who waits for it, and when it was last used. Knows nothing of how containers are made. */
import { ServiceError } from '../../src/protocol/errors.ts';
import { pendingRecord, type SandboxRecord, type SandboxSpec } from '../../src/protocol/node.ts';
import { isEnded, type EndReason, type SandboxStatus } from '../../src/protocol/sandbox.ts';
import type { Launched } from '../pool/launcher.ts';
import type { Image } from '../runtime/runtime.ts';

/** Calls that wait in line for one sandbox. */
const MAX_WAITING = 1_024;

const MOVES: Record<SandboxStatus, readonly SandboxStatus[]> = {
  PENDING: ['PROVISIONING', 'TERMINATED', 'ERROR', 'TIMEOUT'],
  PROVISIONING: ['RUNNING', 'TERMINATED', 'ERROR', 'TIMEOUT'],
  RUNNING: ['TERMINATED', 'ERROR', 'TIMEOUT'],
  TERMINATED: [],
  ERROR: [],
  TIMEOUT: [],
};

export interface Waiting {
  /** Called once the sandbox runs; not before this call has returned. */
  ready(): void;
  failed(error: ServiceError): void;
}

export class Sandbox {
  readonly id: string;
  /** Null once it has ended: its secrets are gone from memory then. */
  spec: SandboxSpec | null;
  record: SandboxRecord;
  /** The container, from the moment that it is ours. */
  launched: Launched | null = null;
  /** Also while its link is not up again after a restart. */
  containerId: string | null = null;
  image: Image | null = null;
  /** Environment of every program: image, sandbox and secrets. */
  env: Readonly<Record<string, string>> = {};
  /** OOM kills of the container that have been told to somebody. */
  oomKillsSeen = 0;
  /** Ends what is being done to bring it up. */
  readonly provisioning = new AbortController();
  #waiting = new Set<Waiting>();
  /** Streams that were cut, and want to know whether the sandbox is to blame. */
  #bereft = new Set<() => void>();
  #calls = 0;
  // By a clock that nobody sets, as all that is told by how long something took.
  #lastCallAt = performance.now();
  readonly #createdAt: number;

  constructor(spec: SandboxSpec | null, record: SandboxRecord, containerId: string | null = null) {
    this.id = record.id;
    this.spec = spec;
    this.record = record;
    this.containerId = containerId;
    this.#createdAt = performance.now() - Math.max(0, (spec?.sentAtMs ?? Date.now()) - record.createdAtMs);
  }

  get ended(): boolean {
    return isEnded(this.record.status);
  }
  get running(): boolean {
    return this.record.status === 'RUNNING';
  }
  /** Calls that are open or wait in line. */
  get calls(): number {
    return this.#calls;
  }
  /** Since when nobody has used it. */
  get idleMs(): number {
    return this.#calls > 0 ? 0 : performance.now() - this.#lastCallAt;
  }
  /** Since it was asked for. */
  get ageMs(): number {
    return Math.round(performance.now() - this.#createdAt);
  }

  /** @throws Error for a move that the state machine does not have. */
  move(status: SandboxStatus, changes: Partial<SandboxRecord> = {}): void {
    if (!MOVES[this.record.status].includes(status)) {
      throw new Error(`a sandbox cannot go from ${this.record.status} to ${status}`);
    }
    this.record = { ...this.record, ...changes, status };
  }

  /** It has stopped being anything that can be used. Whoever waits hears of it by `tellEnd`. */
  end(status: 'TERMINATED' | 'ERROR' | 'TIMEOUT', reason: EndReason, message: string | null, nowMs: number): void {
    this.move(status, { reason, message, endedAtMs: nowMs });
    this.spec = null;
    this.env = {};
    this.provisioning.abort(this.endedError());
  }

  tellEnd(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const each of waiting) each.failed(this.endedError());
    this.#fateIsKnown();
  }

  endedError(): ServiceError {
    const { reason, status, message } = this.record;
    const text = `the sandbox has ended: ${message ?? reason ?? 'unknown'}`;
    return new ServiceError('sandbox_ended', text, { details: { status, reason } });
  }

  /** Runs at once if the sandbox runs. @throws ServiceError `sandbox_ended`, `rate_limited`. */
  whenRunning(waiting: Waiting): void {
    if (this.ended) throw this.endedError();
    if (this.running) return waiting.ready();
    if (this.#waiting.size >= MAX_WAITING) {
      throw new ServiceError('rate_limited', `${MAX_WAITING} calls are already waiting for this sandbox`);
    }
    this.#waiting.add(waiting);
  }

  cancel(waiting: Waiting): void {
    this.#waiting.delete(waiting);
  }

  letIn(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const each of waiting) each.ready();
  }

  /**
   * Calls back once it is known what a lost link to boxinit meant: the sandbox has ended, boxinit is back, or neither in
   * `withinMs`.
   */
  whenFateIsKnown(withinMs: number, callback: () => void): void {
    if (this.ended || this.launched?.link.connected === true) return callback();
    const once = (): void => {
      clearTimeout(timer);
      if (this.#bereft.delete(once)) callback();
    };
    const timer = setTimeout(once, withinMs);
    timer.unref();
    this.#bereft.add(once);
  }

  linkIsBack(): void {
    this.#fateIsKnown();
  }

  #fateIsKnown(): void {
    for (const tell of [...this.#bereft]) tell();
  }

  callBegins(): void {
    this.#calls += 1;
  }

  callEnds(): void {
    this.#calls -= 1;
    this.touch();
  }

  touch(): void {
    this.#lastCallAt = performance.now();
  }
}

/** The record of a sandbox that has just been placed here. */
export function newRecord(spec: SandboxSpec, nowMs: number): SandboxRecord {
  const { createdAtMs, sentAtMs } = spec;
  return {
    ...pendingRecord(spec),
    expiresAtMs: hereFrom(spec.expiresAtMs, sentAtMs, nowMs),
    timings: { placedMs: Math.max(0, (sentAtMs ?? nowMs) - createdAtMs) },
  };
}

/** By this node's clock: an instant by that of a sender for whom it was `sentAtMs` when it is `nowMs` here. */
export function hereFrom(atMs: number, sentAtMs: number | undefined, nowMs: number): number {
  return atMs + nowMs - (sentAtMs ?? nowMs);
}
