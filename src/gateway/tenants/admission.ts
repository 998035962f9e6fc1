/**
 * Decides whether a tenant may have more. Sandboxes are checked against what all gateways know, commands without asking
 * anyone.
 */
import type { Logger } from '../../lib/logger.ts';
import { background } from '../../lib/background.ts';
import { ServiceError } from '../../protocol/errors.ts';
import type { SandboxSpec } from '../../protocol/node.ts';
import type { Entry } from '../sandboxes/entry.ts';
import type { Claim, Rate, Seen, TenantCounters, Usage, Verdict } from './counters.ts';
import type { TenantRules } from './file.ts';
import { milliCpus } from './placed-usage.ts';
import type { ObservedUsage } from './observed-usage.ts';
import type { Tenants } from './tenants.ts';

/** The limits of a tenant, as named in `details.quota` and in metrics. */
export type Quota = 'sandboxes' | 'cpus' | 'memoryMb' | 'createsPerSecond' | 'execs';

export interface AdmissionDeps {
  tenants: Tenants;
  counters: TenantCounters;
  /** What tenants use on the nodes. */
  observed: ObservedUsage;
  /** Not all nodes have reported their sandboxes yet. */
  learning: () => boolean;
  /** What this gateway knows of a sandbox. */
  seen: (id: string) => Seen;
  /** Longest wait of a sandbox for a node. */
  queueWaitMs: number;
  log: Logger;
  /** For metrics. */
  refused?: (tenant: string, quota: Quota) => void;
}

type Kind = keyof Usage;
const QUOTA: Record<Kind, Quota> = { sandboxes: 'sandboxes', milliCpus: 'cpus', memoryMb: 'memoryMb' };
/** Used in messages. They contain no numbers, because clients of other APIs search error texts for status codes. */
const NOUN: Record<Quota, string> = {
  sandboxes: 'sandboxes',
  cpus: 'cpus',
  memoryMb: 'memory',
  createsPerSecond: 'creates per second',
  execs: 'commands at once',
};

/** A guess: nobody knows when a sandbox of the tenant will end. */
const QUOTA_RETRY_MS = 1_000;
/** Shorter, since commands end sooner than sandboxes. */
const EXEC_RETRY_MS = 250;
const LEARNING_RETRY_MS = 200;
const EXCHANGE_MS = 1_000;
/** Between the end of a sandbox's wait and the release of its claim. */
const CLAIM_SLACK_MS = 60_000;

export class Admission {
  readonly #deps: AdmissionDeps;
  /** Claims of this gateway: sandbox id to tenant. */
  readonly #claimed = new Map<string, string>();
  readonly #running = new Map<string, number>();
  #elsewhere: ReadonlyMap<string, number> = new Map();
  #exchanging = false;
  readonly #timer: NodeJS.Timeout;

  constructor(deps: AdmissionDeps) {
    this.#deps = deps;
    this.#timer = setInterval(() => this.#exchange(), EXCHANGE_MS).unref();
  }

  /**
   * Admits all of these sandboxes, or none. From then on they count towards the tenant's limits, until `changed` sees
   * their end or `withdraw` takes them back.
   * @throws ServiceError `quota_exceeded`, `rate_limited`, `invalid_request` for more than the tenant may ever have,
   * `node_unavailable` while it is not known yet what the tenant uses.
   */
  async admit(tenant: string, specs: readonly SandboxSpec[]): Promise<void> {
    const { tenants, counters, observed, queueWaitMs } = this.#deps;
    const rules = tenants.of(tenant);
    const most = bounds(rules);
    const bounded = isBounded(rules);
    const rate = rateOf(rules);
    if (!bounded && rate === null) return;
    const claims = specs.map(({ id, cpus, memoryMb }) => ({ id, milliCpus: milliCpus(cpus), memoryMb }));
    this.#assertPossible(most, claims);
    if (bounded && this.#deps.learning()) {
      const message = 'this server has just started and does not know yet what the tenant uses';
      throw new ServiceError('node_unavailable', message, { retryAfterMs: LEARNING_RETRY_MS });
    }
    let has = observed.of(tenant);
    const left = (kind: Kind): number | null => (most[kind] === null ? null : most[kind] - has[kind]);
    const verdict = await counters.admit({
      tenant,
      claims,
      get room() {
        has = observed.of(tenant);
        return { sandboxes: left('sandboxes'), milliCpus: left('milliCpus'), memoryMb: left('memoryMb') };
      },
      rate,
      keptMs: queueWaitMs + CLAIM_SLACK_MS,
      seen: this.#deps.seen,
    });
    // By the usage at the time of the decision: what was a claim then may be on a node by now.
    if (!verdict.admitted) throw this.#refusal(tenant, rules, has, verdict);
    for (const { id } of claims) this.#claimed.set(id, tenant);
  }

  /** These sandboxes will not be created. */
  withdraw(sandboxes: readonly { id: string }[]): void {
    for (const { id } of sandboxes) this.#release(id);
  }

  /** Call after each change of an entry, after `PlacedUsage` has counted it. */
  changed(entry: Entry): void {
    const tenant = this.#claimed.get(entry.id);
    if (tenant === undefined) return;
    if (entry.ended) this.#release(entry.id);
    else if (entry.accepted) {
      this.#claimed.delete(entry.id);
      this.#deps.counters.placed(tenant, [entry.id]);
    }
  }

  /**
   * Counts a command until the returned function is called (more calls do nothing).
   * @throws ServiceError `quota_exceeded`
   */
  enter(tenant: string): () => void {
    const { execs: most } = this.#deps.tenants.of(tenant);
    const here = this.#running.get(tenant) ?? 0;
    const used = here + (this.#elsewhere.get(tenant) ?? 0);
    if (most !== null && used >= most) throw this.#quotaError(tenant, 'execs', most, used, EXEC_RETRY_MS);
    return this.attach(tenant);
  }

  /**
   * As `enter`, for a command that runs already. It counts, but is never refused: its output would be lost, although
   * nothing would run less.
   */
  attach(tenant: string): () => void {
    this.#running.set(tenant, (this.#running.get(tenant) ?? 0) + 1);
    let left = false;
    return () => {
      if (left) return;
      left = true;
      const now = (this.#running.get(tenant) ?? 1) - 1;
      if (now > 0) this.#running.set(tenant, now);
      else this.#running.delete(tenant);
    };
  }

  /** How many of a tenant's sandboxes go in one of its turns in the queue. */
  weightOf(tenant: string): number {
    return this.#deps.tenants.of(tenant).weight;
  }

  /** Commands running through this gateway, by tenant. */
  get running(): ReadonlyMap<string, number> {
    return this.#running;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Refuses permanently what would exceed a limit even for a tenant that uses nothing. */
  #assertPossible(most: Record<Kind, number | null>, claims: readonly Claim[]): void {
    const asked = {
      sandboxes: claims.length,
      milliCpus: claims.reduce((sum, claim) => sum + claim.milliCpus, 0),
      memoryMb: claims.reduce((sum, claim) => sum + claim.memoryMb, 0),
    };
    for (const kind of ['sandboxes', 'milliCpus', 'memoryMb'] as const) {
      const bound = most[kind];
      if (bound === null || asked[kind] <= bound) continue;
      const quota = QUOTA[kind];
      throw new ServiceError('invalid_request', `this is more ${NOUN[quota]} than the tenant may have`, {
        details: { quota, limit: shown(kind, bound), asked: shown(kind, asked[kind]) },
      });
    }
  }

  #refusal(
    tenant: string,
    rules: TenantRules,
    has: Readonly<Usage>,
    verdict: Exclude<Verdict, { admitted: true }>,
  ): ServiceError {
    if (verdict.short === 'rate') {
      this.#deps.refused?.(tenant, 'createsPerSecond');
      return new ServiceError('rate_limited', 'the tenant creates sandboxes faster than it may', {
        retryAfterMs: verdict.waitMs,
        details: { quota: 'createsPerSecond', limit: rules.createsPerSecond },
      });
    }
    const kind = verdict.short;
    const used = shown(kind, has[kind] + verdict.claimed);
    return this.#quotaError(tenant, QUOTA[kind], shown(kind, bounds(rules)[kind] ?? 0), used, QUOTA_RETRY_MS);
  }

  #quotaError(tenant: string, quota: Quota, limit: number, used: number, retryAfterMs: number): ServiceError {
    this.#deps.refused?.(tenant, quota);
    return new ServiceError('quota_exceeded', `the tenant has used all of its ${NOUN[quota]}`, {
      retryAfterMs,
      details: { quota, limit, used },
    });
  }

  #release(id: string): void {
    const tenant = this.#claimed.get(id);
    if (tenant === undefined) return;
    this.#claimed.delete(id);
    this.#deps.counters.release(tenant, [id]);
  }

  /** Exchanges counts with the other gateways in the background, so that no call has to wait for them. */
  #exchange(): void {
    if (this.#exchanging) return;
    this.#exchanging = true;
    const { counters, observed } = this.#deps;
    const exchanged = Promise.all([
      counters.exchangeRunning(new Map(this.#running)).then((others) => (this.#elsewhere = others)),
      counters.exchangeUsage(observed.own).then((others) => observed.receive(others)),
    ]);
    background(
      exchanged.finally(() => (this.#exchanging = false)),
      'tell other gateways of tenants',
      this.#deps.log,
    );
  }
}

/** Whether any of the tenant's resources is limited. */
export const isBounded = (rules: TenantRules): boolean => Object.values(bounds(rules)).some((bound) => bound !== null);

function bounds({ sandboxes, cpus, memoryMb }: TenantRules): Record<Kind, number | null> {
  return { sandboxes, milliCpus: cpus === null ? null : milliCpus(cpus), memoryMb };
}

function rateOf({ createsPerSecond: perSecond, createBurst }: TenantRules): Rate | null {
  if (perSecond === null) return null;
  return { perSecond, burst: createBurst ?? Math.max(1, Math.ceil(perSecond)) };
}

const shown = (kind: Kind, value: number): number => (kind === 'milliCpus' ? value / 1000 : value);
