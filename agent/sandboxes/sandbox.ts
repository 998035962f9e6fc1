/**
 * One sandbox: its state, the calls that wait for it, and when it was last used. Independent of how containers are
 * made.
 */
import { ServiceError } from '../../src/protocol/errors.ts';
import { pendingRecord, type SandboxRecord, type SandboxSpec } from '../../src/protocol/node.ts';
import { endOf, isEnded, type EndReason, type SandboxStatus } from '../../src/protocol/sandbox.ts';
import type { Launched } from '../pool/launcher.ts';
import type { Image } from '../runtime/runtime.ts';

/** Calls that may wait for one sandbox to start. */
const MAX_WAITING = 1_024;

const MOVES: Record<SandboxStatus, readonly SandboxStatus[]> = {
  PENDING: ['PROVISIONING', 'TERMINATED', 'ERROR', 'TIMEOUT'],
  PROVISIONING: ['RUNNING', 'TERMINATED', 'ERROR', 'TIMEOUT'],
  RUNNING: ['TERMINATED', 'ERROR', 'TIMEOUT'],
  TERMINATED: [],
  ERROR: [],
  TIMEOUT: [],
};

/** What is known of the container's OOM kills, under any agent. */
export interface OomKills {
  /** How many have been attributed to an exit. */
  attributed: number;
  /** The newest of these exits. */
  exits: readonly string[];
}

type End = Pick<SandboxRecord, 'message' | 'errorCode'> & { reason: EndReason };

export interface Waiting {
  /** Called once the sandbox runs; not before this call has returned. */
  ready(): void;
  failed(error: ServiceError): void;
}

export class Sandbox {
  readonly id: string;
  /** Null once it has ended, so that its secrets leave memory. */
  spec: SandboxSpec | null;
  record: SandboxRecord;
  /** The container, once it has been claimed. */
  launched: Launched | null = null;
  /** Known even before boxinit has reconnected after a restart. */
  containerId: string | null = null;
  image: Image | null = null;
  /** Environment of every program: image, sandbox and secrets. */
  env: Readonly<Record<string, string>> = {};
  /**
   * On the awake clock: until when it counts as used if the agent is killed now. Null without an idle timeout, and
   * until it is running.
   */
  usedUntilMs: number | null = null;
  /** Whether any record of it has been written. */
  recorded = false;
  oomKills: OomKills = { attributed: 0, exits: [] };
  /** Aborts its provisioning. */
  readonly provisioning = new AbortController();
  #waiting = new Set<Waiting>();
  /** Streams whose link broke, waiting to learn whether the sandbox has ended. */
  #awaitingLink = new Set<() => void>();
  #calls = 0;
  // By the monotonic clock, like every duration.
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
  /** Calls that are open or waiting. */
  get calls(): number {
    return this.#calls;
  }
  /** Time since its last use. */
  get idleMs(): number {
    return this.#calls > 0 ? 0 : performance.now() - this.#lastCallAt;
  }
  /** Since it was requested, to a hundredth: a claim takes only a few milliseconds. */
  get ageMs(): number {
    return Math.round((performance.now() - this.#createdAt) * 100) / 100;
  }

  /** @throws Error for a transition that the state machine does not have. */
  move(status: SandboxStatus, changes: Partial<SandboxRecord> = {}): void {
    if (!MOVES[this.record.status].includes(status)) {
      throw new Error(`a sandbox cannot go from ${this.record.status} to ${status}`);
    }
    this.record = { ...this.record, ...changes, status };
  }

  /** Ends it. `tellEnd` fails the waiting calls. */
  end(end: End, nowMs: number): void {
    this.move(statusFor(end.reason), { ...end, endedAtMs: nowMs });
    this.spec = null;
    this.env = {};
    this.provisioning.abort(this.endedError());
  }

  tellEnd(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const each of waiting) each.failed(this.endedError());
    this.#linkIsSettled();
  }

  endedError(): ServiceError {
    const { reason, message } = this.record;
    const text = `the sandbox has ended: ${message ?? reason ?? 'unknown'}`;
    return new ServiceError('sandbox_ended', text, { details: endOf(this.record) });
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
   * Calls back once it is known what a lost link to boxinit means: the sandbox has ended, boxinit is back, or
   * `withinMs` have passed without either.
   */
  whenRelinkedOrEnded(withinMs: number, callback: () => void): void {
    if (this.ended || this.launched?.link.connected === true) return callback();
    const once = (): void => {
      clearTimeout(timer);
      if (this.#awaitingLink.delete(once)) callback();
    };
    const timer = setTimeout(once, withinMs);
    timer.unref();
    this.#awaitingLink.add(once);
  }

  linkIsBack(): void {
    this.#linkIsSettled();
  }

  #linkIsSettled(): void {
    for (const callback of [...this.#awaitingLink]) callback();
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

  /** It was unused for this long under an earlier agent. */
  unusedFor(ms: number): void {
    this.#lastCallAt = performance.now() - ms;
  }
}

/** The first record of a sandbox that was placed here. */
export function newRecord(spec: SandboxSpec, nowMs: number): SandboxRecord {
  const { createdAtMs, sentAtMs } = spec;
  return {
    ...pendingRecord(spec),
    expiresAtMs: hereFrom(spec.expiresAtMs, sentAtMs, nowMs),
    timings: { placedMs: Math.max(0, (sentAtMs ?? nowMs) - createdAtMs) },
  };
}

function statusFor(reason: EndReason): 'TERMINATED' | 'ERROR' | 'TIMEOUT' {
  if (reason === 'deleted') return 'TERMINATED';
  return reason === 'lifetime' || reason === 'idle' ? 'TIMEOUT' : 'ERROR';
}

/** Converts an instant of a sender's clock to this node's: it was `sentAtMs` there when it is `nowMs` here. */
export function hereFrom(atMs: number, sentAtMs: number | undefined, nowMs: number): number {
  return atMs + nowMs - (sentAtMs ?? nowMs);
}
