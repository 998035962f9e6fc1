/**
 * The tenants' shared counters in Redis. While Redis is away each gateway counts alone, by its own claims and its own
 * buckets, so a tenant may exceed its limits a little during that time.
 */
import { randomUUID } from 'node:crypto';
import type { Application, Seen, UsageSnapshot, TenantCounters, Verdict } from '../tenants/counters.ts';
import { MemoryCounters } from '../tenants/memory-counters.ts';
import { admit, markPlaced, OLD_PAGE, release, type Short } from './claims.ts';
import { exchange, withdraw, type Board } from './exchange.ts';
import { KEYS } from './keys.ts';
import { isAway, unavailable, type RedisLink } from './link.ts';
import { Owed, type Fate } from './owed.ts';
import { commandsText, snapshotsOf, snapshotText, sumOfCommands } from './tenant-messages.ts';

export interface RedisCountersOptions {
  link: RedisLink;
  /** How long a gateway's reports of its commands and its snapshot are valid. */
  saidMs?: number;
  /** How long a placed sandbox still counts as a claim: by then all gateways have heard of it from the node. */
  heardMs?: number;
  /** A claim that nobody has heard of after this long belongs to a dead gateway. */
  unheardMs?: number;
}

const COMMANDS: Board = [KEYS.commands, KEYS.commandEnds];
const SNAPSHOTS: Board = [KEYS.sights, KEYS.sightEnds];
const SAID_MS = 5_000;
const HEARD_MS = 3_000;
/** Longer than it takes to send a sandbox to a node, or to record that it waits. */
const UNHEARD_MS = 60_000;

export class RedisCounters implements TenantCounters {
  readonly #link: RedisLink;
  readonly #times: Required<Omit<RedisCountersOptions, 'link'>>;
  readonly #me = randomUUID();
  /** Used while Redis is away. */
  readonly #alone = new MemoryCounters();
  /** Changes of claims that Redis has not taken yet. */
  readonly #owed = new Owed();
  /** How many old claims of a tenant to skip, because earlier answers named them and they are still valid. */
  readonly #passed = new Map<string, number>();

  constructor({ link, ...times }: RedisCountersOptions) {
    this.#link = link;
    this.#times = { saidMs: SAID_MS, heardMs: HEARD_MS, unheardMs: UNHEARD_MS, ...times };
  }

  async admit(application: Application): Promise<Verdict> {
    try {
      if (!this.#link.up) throw unavailable();
      const verdict = await this.#admit(application);
      if (verdict.admitted) this.#madeAnew(application);
      return verdict;
    } catch (error) {
      if (!isAway(error)) throw error;
      return await this.#alone.admit(application);
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

  async exchange(running: ReadonlyMap<string, number>): Promise<ReadonlyMap<string, number>> {
    for (const tenant of this.#owed.tenants) void this.#pay(tenant);
    return sumOfCommands(await this.#tell(COMMANDS, commandsText(running)));
  }

  async compare(snapshot: UsageSnapshot): Promise<readonly UsageSnapshot[]> {
    return snapshotsOf(await this.#tell(SNAPSHOTS, snapshotText(snapshot)));
  }

  async stop(): Promise<void> {
    await this.#alone.stop();
    if (!this.#link.up) return;
    for (const board of [COMMANDS, SNAPSHOTS]) await withdraw(this.#link, board, this.#me).catch(() => undefined);
  }

  async #tell(board: Board, text: string): Promise<string[]> {
    if (!this.#link.up) return [];
    try {
      return await exchange(this.#link, board, { me: this.#me, text, keptMs: this.#times.saidMs });
    } catch (error) {
      if (!isAway(error)) throw error;
      return [];
    }
  }

  /** @throws ServiceError `node_unavailable` */
  async #admit(application: Application): Promise<Verdict> {
    const { tenant } = application;
    const { heardMs, unheardMs } = this.#times;
    if (this.#owed.has(tenant)) await this.#pay(tenant);
    const skip = this.#passed.get(tenant) ?? 0;
    const verdict = await admit(this.#link, application, { heardMs, oldMs: unheardMs, skip, counted: [] });
    if (!('placed' in verdict)) return verdict;
    const counted = this.#settle(application, verdict);
    if (counted.length === 0) return plain(verdict);
    return plain(await admit(this.#link, application, { heardMs, oldMs: null, skip, counted }));
  }

  /** What was owed for an earlier claim of the same id must not undo this one. */
  #madeAnew({ tenant, claims }: Application): void {
    if (!this.#owed.has(tenant)) return;
    this.#owed.paid(
      tenant,
      claims.map(({ id }) => id),
      'over',
    );
  }

  /** Never rejects: Redis is told later of what it does not take now. */
  async #settleAtRedis(tenant: string, ids: readonly string[], fate: Fate): Promise<void> {
    if (ids.length === 0) return;
    const told = (): Promise<void> => release(this.#link, tenant, ids);
    try {
      if (!this.#link.up) throw unavailable();
      // A Redis without free memory does not take the mark.
      await (fate === 'placed' ? markPlaced(this.#link, tenant, ids, this.#times.heardMs).catch(told) : told());
      this.#owed.paid(tenant, ids, fate);
    } catch {
      this.#owed.owe(tenant, ids, fate);
    }
  }

  /** Never rejects. */
  async #pay(tenant: string): Promise<void> {
    if (!this.#link.up) return;
    await Promise.all(this.#owed.of(tenant).map(({ ids, fate }) => this.#settleAtRedis(tenant, ids, fate)));
  }

  /**
   * Claims that this gateway counts by itself or knows to be over. Old ones among them belong to a dead gateway, and
   * are released on behalf of all.
   */
  #settle({ tenant, seen }: Application, { placed, old }: Short): string[] {
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
