/**
 * The tenants' shared counters in Redis. While Redis is away each gateway counts alone, by its own claims and its own
 * buckets, so a tenant may exceed its limits slightly during that time.
 */
import { randomUUID } from 'node:crypto';
import type { AdmissionRequest, Seen, UsageSnapshot, TenantCounters, Verdict } from '../tenants/counters.ts';
import { MemoryCounters } from '../tenants/memory-counters.ts';
import { admit, markPlaced, OLD_PAGE, release, type Short } from './claims.ts';
import { exchange, withdraw, type Board } from './exchange.ts';
import { KEYS } from './keys.ts';
import { isAway, unavailable, type RedisLink } from './link.ts';
import { PendingSettlements, type Fate } from './pending-settlements.ts';
import { commandsText, snapshotsOf, snapshotText, sumOfCommands } from './tenant-messages.ts';

export interface RedisCountersOptions {
  link: RedisLink;
  /** How long a gateway's reports of its commands and its snapshot are valid. */
  postedMs?: number;
  /** How long a placed sandbox still counts as a claim: by then all gateways have learnt of it from the node. */
  placedMs?: number;
  /** A claim that nobody has reported for this long belongs to a dead gateway. */
  orphanedMs?: number;
}

const COMMANDS: Board = [KEYS.commands, KEYS.commandEnds];
const SNAPSHOTS: Board = [KEYS.sights, KEYS.sightEnds];
const POSTED_MS = 5_000;
const PLACED_MS = 3_000;
/** Longer than it takes to send a sandbox to a node, or to record that it waits. */
const ORPHANED_MS = 60_000;

export class RedisCounters implements TenantCounters {
  readonly #link: RedisLink;
  readonly #times: Required<Omit<RedisCountersOptions, 'link'>>;
  readonly #me = randomUUID();
  /** Used while Redis is away. */
  readonly #alone = new MemoryCounters();
  /** Changes to claims that Redis has not taken yet. */
  readonly #pending = new PendingSettlements();
  /** How many old claims of a tenant to skip, because earlier answers named them and they are still valid. */
  readonly #passed = new Map<string, number>();

  constructor({ link, ...times }: RedisCountersOptions) {
    this.#link = link;
    this.#times = { postedMs: POSTED_MS, placedMs: PLACED_MS, orphanedMs: ORPHANED_MS, ...times };
  }

  async admit(request: AdmissionRequest): Promise<Verdict> {
    try {
      if (!this.#link.up) throw unavailable();
      const verdict = await this.#admit(request);
      if (verdict.admitted) this.#madeAnew(request);
      return verdict;
    } catch (error) {
      if (!isAway(error)) throw error;
      return await this.#alone.admit(request);
    }
  }

  placed(tenant: string, ids: readonly string[]): void {
    this.#alone.release(tenant, ids);
    void this.#settleAtRedis(tenant, ids, 'placed');
  }

  release(tenant: string, ids: readonly string[]): void {
    this.#alone.release(tenant, ids);
    void this.#settleAtRedis(tenant, ids, 'over');
  }

  async exchangeRunning(running: ReadonlyMap<string, number>): Promise<ReadonlyMap<string, number>> {
    for (const tenant of this.#pending.tenants) void this.#settlePending(tenant);
    return sumOfCommands(await this.#exchange(COMMANDS, commandsText(running)));
  }

  async exchangeUsage(snapshot: UsageSnapshot): Promise<readonly UsageSnapshot[]> {
    return snapshotsOf(await this.#exchange(SNAPSHOTS, snapshotText(snapshot)));
  }

  async stop(): Promise<void> {
    await this.#alone.stop();
    if (!this.#link.up) return;
    for (const board of [COMMANDS, SNAPSHOTS]) await withdraw(this.#link, board, this.#me).catch(() => undefined);
  }

  async #exchange(board: Board, text: string): Promise<string[]> {
    if (!this.#link.up) return [];
    try {
      return await exchange(this.#link, board, { me: this.#me, text, keptMs: this.#times.postedMs });
    } catch (error) {
      if (!isAway(error)) throw error;
      return [];
    }
  }

  /** @throws ServiceError `node_unavailable` */
  async #admit(request: AdmissionRequest): Promise<Verdict> {
    const { tenant } = request;
    const { placedMs, orphanedMs } = this.#times;
    if (this.#pending.has(tenant)) await this.#settlePending(tenant);
    const skip = this.#passed.get(tenant) ?? 0;
    const verdict = await admit(this.#link, request, { placedMs, oldMs: orphanedMs, skip, counted: [] });
    if (!('placed' in verdict)) return verdict;
    const counted = this.#settle(request, verdict);
    if (counted.length === 0) return plain(verdict);
    return plain(await admit(this.#link, request, { placedMs, oldMs: null, skip, counted }));
  }

  /** What was pending for an earlier claim of the same id must not undo this one. */
  #madeAnew({ tenant, claims }: AdmissionRequest): void {
    if (!this.#pending.has(tenant)) return;
    this.#pending.settled(
      tenant,
      claims.map(({ id }) => id),
      'over',
    );
  }

  /** Never rejects: what Redis does not take now is sent later. */
  async #settleAtRedis(tenant: string, ids: readonly string[], fate: Fate): Promise<void> {
    if (ids.length === 0) return;
    const releaseAll = (): Promise<void> => release(this.#link, tenant, ids);
    try {
      if (!this.#link.up) throw unavailable();
      // A Redis without free memory does not take the mark.
      await (fate === 'placed'
        ? markPlaced(this.#link, tenant, ids, this.#times.placedMs).catch(releaseAll)
        : releaseAll());
      this.#pending.settled(tenant, ids, fate);
    } catch {
      this.#pending.add(tenant, ids, fate);
    }
  }

  /** Never rejects. */
  async #settlePending(tenant: string): Promise<void> {
    if (!this.#link.up) return;
    await Promise.all(this.#pending.of(tenant).map(({ ids, fate }) => this.#settleAtRedis(tenant, ids, fate)));
  }

  /**
   * Claims that this gateway counts itself or knows to be over. Old ones among them belong to a dead gateway, and are
   * released for everyone.
   */
  #settle({ tenant, seen }: AdmissionRequest, { placed, old }: Short): string[] {
    const unheard = Map.groupBy(old, seen);
    const of = (what: Seen): string[] => unheard.get(what) ?? [];
    const over = [...of('ended'), ...of('unknown')];
    const settled = [...over, ...of('placed')];
    this.release(tenant, over);
    this.placed(tenant, of('placed'));
    if (old.length < OLD_PAGE) this.#passed.delete(tenant);
    else this.#passed.set(tenant, (this.#passed.get(tenant) ?? 0) + old.length - settled.length);
    return [...placed.filter((id) => ['placed', 'ended'].includes(seen(id))), ...settled];
  }
}

/** The verdict without the fields that only this class needs. */
function plain(verdict: Verdict | Short): Verdict {
  if (!('placed' in verdict)) return verdict;
  const { placed: _placed, old: _old, ...rest } = verdict;
  return rest;
}
