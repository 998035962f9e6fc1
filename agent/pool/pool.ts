/** Warm containers of one kind, and the claims that wait for one. Times are by the monotonic clock. */
import { backoffMs } from '../../src/lib/backoff.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import type { PoolState } from '../../src/protocol/node.ts';
import type { Network } from '../../src/protocol/sandbox.ts';
import type { Image, Limits } from '../runtime/runtime.ts';
import { Demand, type DemandBounds } from './demand.ts';
import { worthAnotherLaunch, type Launched, type LaunchSpec } from './launcher.ts';

const MAX_FAILURES_OF_A_CLAIM = 3;
const BACKOFF = { firstMs: 500, maxMs: 60_000 };
/** References of one image that a report lists. */
const MAX_NAMES = 16;

export type PoolNumbers = Omit<PoolState, 'key'>;

interface Waiter {
  since: number;
  failures: number;
  /** When the last of these failures was counted. */
  failedAtMs: number;
  resolve(launched: Launched): void;
  reject(error: unknown): void;
}

interface PoolOptions {
  key: string;
  image: Image | undefined;
  limits: Limits;
  network: Network;
  bounds: DemandBounds;
}

export class Pool {
  readonly key: string;
  readonly demand: Demand;
  readonly spec: LaunchSpec;
  /** Its names in reports: references of its image, or `*`. */
  readonly names = new Set<string>();
  #warm: Launched[] = [];
  /** Those of them that may have been stopped. None is handed out before it has answered a ping. */
  readonly #doubted = new WeakSet<Launched>();
  #waiters: Waiter[] = [];
  #starting = 0;
  #failures = 0;
  #quietUntilMs = 0;
  #usedAtMs = 0;

  constructor(options: PoolOptions) {
    this.key = options.key;
    this.demand = new Demand(options.bounds);
    this.spec = {
      poolKey: options.key,
      image: options.image,
      limits: options.limits,
      network: options.network,
    };
  }

  get warm(): number {
    return this.#warm.length;
  }
  get starting(): number {
    return this.#starting;
  }
  /** When the longest-waiting claim began to wait; infinity if none waits. */
  get waitingSince(): number {
    return this.#waiters[0]?.since ?? Number.POSITIVE_INFINITY;
  }
  /** Claims wait in it, or containers for it are being started. */
  get busy(): boolean {
    return this.#waiters.length + this.#starting > 0;
  }
  get empty(): boolean {
    return this.#warm.length === 0 && !this.busy;
  }
  get usedAtMs(): number {
    return this.#usedAtMs;
  }

  numbers(nowMs: number): PoolNumbers {
    return { warm: this.#warm.length, starting: this.#starting, target: this.demand.target(nowMs) };
  }

  /** Claims that no start in progress will serve. */
  unserved(): number {
    return this.#waiters.length - this.#starting;
  }

  /** Containers missing to reach the target, unless starts have just failed. */
  deficit(nowMs: number): number {
    if (nowMs < this.#quietUntilMs) return 0;
    return this.demand.target(nowMs) - this.#warm.length - Math.max(0, this.#starting - this.#waiters.length);
  }

  /** Whether the claims that arrive may empty it before it is refilled. */
  isUrgent(nowMs: number): boolean {
    return this.#warm.length < this.demand.needed(nowMs);
  }

  noteUse(name: string, nowMs: number): void {
    this.#usedAtMs = nowMs;
    if (this.names.size < MAX_NAMES) this.names.add(name);
  }

  /**
   * Removes and returns the longest-waiting container that still has its boxinit and is not in doubt. One that has lost it
   * stays for whoever is told of the loss: here nobody would destroy it.
   */
  take(): Launched | undefined {
    const at = this.#warm.findIndex((each) => each.link.connected && !this.#doubted.has(each));
    const next = at === -1 ? undefined : this.#warm.splice(at, 1)[0];
    if (next !== undefined) next.link.events = {};
    return next;
  }

  /** The next container to become ready. @throws ServiceError of the start that failed, or the signal's reason. */
  wait(signal: AbortSignal, nowMs: number): Promise<Launched> {
    const { promise, resolve, reject } = Promise.withResolvers<Launched>();
    const waiter: Waiter = { since: nowMs, failures: 0, failedAtMs: -Infinity, resolve, reject };
    const onAbort = (): void => {
      this.#waiters = this.#waiters.filter((other) => other !== waiter);
      reject(signal.reason);
    };
    if (signal.aborted) onAbort();
    else {
      this.#waiters.push(waiter);
      signal.addEventListener('abort', onAbort, { once: true });
    }
    return promise.finally(() => signal.removeEventListener('abort', onAbort));
  }

  startBegins(): void {
    this.#starting += 1;
  }

  /** A start has ended with this container. `keep` as in `adopt`. */
  startSucceeded(launched: Launched, tookMs: number, keep: () => void): void {
    this.#starting -= 1;
    this.#failures = 0;
    this.#quietUntilMs = 0;
    this.demand.launched(tookMs);
    this.adopt(launched, keep);
  }

  /** Starts that were in progress at the same time may fail for one reason: for a claim they count as one failure. */
  startFailed(error: unknown, nowMs: number, tookMs: number): void {
    this.#starting -= 1;
    this.#failures += 1;
    this.#quietUntilMs = nowMs + backoffMs(BACKOFF, this.#failures);
    const waiter = this.#waiters[0];
    if (waiter === undefined) return;
    if (worthAnotherLaunch(error)) {
      if (nowMs - tookMs < waiter.failedAtMs) return;
      waiter.failures += 1;
      waiter.failedAtMs = nowMs;
      if (waiter.failures < MAX_FAILURES_OF_A_CLAIM) return;
    }
    this.#waiters.shift();
    waiter.reject(ServiceError.from(error));
  }

  /** Gives it to the longest-waiting claim; otherwise it stays here and `keep` is called. */
  adopt(launched: Launched, keep: () => void): void {
    const waiter = this.#waiters.shift();
    if (waiter !== undefined) return waiter.resolve(launched);
    this.#warm.push(launched);
    keep();
  }

  remove(id: string): Launched | undefined {
    const at = this.#warm.findIndex((launched) => launched.container.id === id);
    return at === -1 ? undefined : this.#warm.splice(at, 1)[0];
  }

  /** Puts all that wait in doubt. Returns those that were not. */
  doubt(): Launched[] {
    const trusted = this.#warm.filter((each) => !this.#doubted.has(each));
    for (const each of trusted) this.#doubted.add(each);
    return trusted;
  }

  /** It has answered a ping: the longest-waiting claim gets it; otherwise it stays here. */
  trust(launched: Launched): void {
    this.#doubted.delete(launched);
    if (this.#waiters.length === 0) return;
    const next = this.take();
    if (next !== undefined) this.#waiters.shift()?.resolve(next);
  }

  /** The oldest container above the target; undefined if there is no surplus. */
  surplus(nowMs: number): Launched | undefined {
    return this.#warm.length > this.demand.target(nowMs) ? this.#warm.shift() : undefined;
  }

  /** Empties the pool and rejects every waiting claim. */
  close(error: ServiceError): Launched[] {
    for (const waiter of this.#waiters) waiter.reject(error);
    this.#waiters = [];
    return this.#warm.splice(0);
  }

  owns(id: string): boolean {
    return this.#warm.some((launched) => launched.container.id === id);
  }
}
