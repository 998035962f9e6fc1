/** All pools of a node, and the one place where containers are started, a bounded number at once (docs/adr/0004). */
import type { Logger } from '../../src/lib/logger.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import { familiar, parseImageReference } from '../../src/protocol/image-reference.ts';
import type { PoolState } from '../../src/protocol/node.ts';
import type { ClaimOptions, ContainerRuntime, Image, Limits } from '../runtime/runtime.ts';
import type { Launched, Launcher } from './launcher.ts';
import { nextToStart, QUIET_MS } from './next-to-start.ts';
import { Pool, type PoolNumbers } from './pool.ts';

const SWEEP_MS = 1_000;
/** An empty pool without claims for this long is forgotten. */
const FORGET_MS = 60_000;
const MAX_POOLS = 4_096;
/** After a start that took longer, such as one that failed by its deadline. */
const MAX_REST_MS = 1_000;

export interface PoolsOptions {
  runtime: ContainerRuntime;
  launcher: Launcher;
  /** Limits of warm containers, until a claim sets its own. */
  limits: Limits;
  min: number;
  max: number;
  /** Image whose pool has the minimum size; blanks always have it. */
  defaultImage: string;
  launchConcurrency: number;
  /** Whether there are sandboxes on the node. Their commands go before refills. */
  occupied(): boolean;
  /** Beyond this, the least recently used pool is dropped. */
  maxPools?: number;
  log: Logger;
  /** Called when a number in the report has changed. */
  onChange(): void;
}

export class Pools {
  readonly #options: PoolsOptions;
  readonly #pools = new Map<string, Pool>();
  /** The one pool that has the minimum size. */
  #floored: Pool | undefined;
  readonly #sweeper: NodeJS.Timeout;
  readonly #abort = new AbortController();
  #active = 0;
  /** By the monotonic clock, as all times here. */
  #claimedAtMs = -Infinity;
  #restedAtMs = -Infinity;
  #resume: NodeJS.Timeout | undefined;
  #closed = false;
  #paused = false;

  constructor(options: PoolsOptions) {
    this.#options = options;
    this.#sweeper = setInterval(() => this.#sweep(), SWEEP_MS);
    this.#sweeper.unref();
  }

  /** Makes the pool of the default image, or of blanks, and fills it. */
  prewarm(image: Image | undefined): void {
    const wanted = { image, network: 'off' as const, limits: this.#options.limits };
    const pool = this.#poolFor(wanted);
    pool.noteUse(this.#nameOf(image), performance.now());
    this.#pump();
  }

  /** Claims a warm container, or returns undefined. @throws ServiceError `capacity_exhausted`. */
  takeWarm(wanted: ClaimOptions): Launched | undefined {
    const pool = this.#poolFor(wanted);
    this.#claims(pool, wanted);
    const launched = this.#fits(wanted, pool) ? pool.take() : undefined;
    if (launched !== undefined) this.#options.onChange();
    this.#pumpSoon();
    return launched;
  }

  /**
   * The next container to become ready for this claim.
   * @throws ServiceError of the start that failed, `capacity_exhausted`, or the signal's reason.
   */
  async waitFor(wanted: ClaimOptions, signal: AbortSignal): Promise<Launched> {
    const pool = this.#poolFor(wanted);
    pool.noteUse(this.#nameOf(wanted.image), performance.now());
    const launched = pool.wait(signal, performance.now());
    this.#pump();
    return await launched;
  }

  /** Takes in a warm container of the last agent, or gives it to a claim that waits. False if it is not needed. */
  adopt(launched: Launched, image: Image | undefined): boolean {
    if (this.#closed || (image === undefined && !this.#options.runtime.imageAgnostic)) return false;
    const pool = this.#poolFor({ image, network: launched.network, limits: launched.limits });
    if (pool.key !== launched.poolKey) return false;
    pool.noteUse(this.#nameOf(image), performance.now());
    pool.adopt(launched, () => this.#watch(pool, launched));
    return true;
  }

  /** The runtime reports that a container has ended. */
  exited(id: string): void {
    for (const pool of this.#pools.values()) this.#drop(pool, pool.remove(id));
  }

  /**
   * A container of this pool did not answer its claim. Whatever stopped it may have stopped the other warm ones:
   * each is pinged and not handed out until it has answered, and those that do not answer are replaced.
   */
  doubt(key: string): void {
    const pool = this.#pools.get(key);
    if (pool === undefined) return;
    for (const launched of pool.doubt()) {
      launched.link.ping().then(
        () => {
          pool.trust(launched);
          this.#options.onChange();
        },
        () => this.#drop(pool, pool.remove(launched.container.id)),
      );
    }
  }

  owns(id: string): boolean {
    for (const pool of this.#pools.values()) if (pool.owns(id)) return true;
    return false;
  }

  /** No refills while the node drains. */
  pause(paused: boolean): void {
    this.#paused = paused;
    if (!paused) this.#pump();
  }

  /** For each name of each pool: what has several names is in it several times. */
  states(): PoolState[] {
    const now = performance.now();
    return [...this.#pools.values()].flatMap((pool) => [...pool.names].map((key) => ({ key, ...pool.numbers(now) })));
  }

  /** Over all pools, each counted once. */
  totals(): PoolNumbers {
    const now = performance.now();
    const all = [...this.#pools.values()].map((pool) => pool.numbers(now));
    const sum = (field: keyof PoolNumbers): number => all.reduce((total, each) => total + each[field], 0);
    return { warm: sum('warm'), starting: sum('starting'), target: sum('target') };
  }

  /** Stops refilling. Warm containers stay for the next agent, unless `destroy`. */
  async close(options: { destroy: boolean }): Promise<void> {
    this.#closed = true;
    clearInterval(this.#sweeper);
    clearTimeout(this.#resume);
    this.#abort.abort(new ServiceError('draining'));
    const gone: Promise<void>[] = [];
    for (const pool of this.#pools.values()) {
      for (const launched of pool.close(new ServiceError('draining'))) {
        if (options.destroy) gone.push(this.#options.launcher.discard(launched.container.id, launched.link));
        else launched.link.close();
      }
    }
    await Promise.all(gone);
  }

  #claims(pool: Pool, wanted: ClaimOptions): void {
    const now = performance.now();
    this.#claimedAtMs = now;
    pool.noteUse(this.#nameOf(wanted.image), now);
    pool.demand.claimed(now);
  }

  /** One for all spellings of a reference: gateways add up what they find under any of them. */
  #nameOf(image: Image | undefined): string {
    if (this.#options.runtime.imageAgnostic || image === undefined) return '*';
    const reference = parseImageReference(image.ref);
    return reference === undefined ? image.ref : familiar(reference);
  }

  #fits(wanted: ClaimOptions, pool: Pool): boolean {
    return this.#options.runtime.canClaim({ limits: pool.spec.limits, network: pool.spec.network }, wanted);
  }

  /**
   * One pool for blanks, otherwise one per image; more for claims that those containers cannot satisfy.
   * @throws ServiceError `capacity_exhausted` if claims wait in as many pools as there may be.
   */
  #poolFor(wanted: Pick<ClaimOptions, 'network' | 'limits'> & { image: Image | undefined }): Pool {
    const { runtime, limits, min, defaultImage } = this.#options;
    const image = runtime.imageAgnostic ? undefined : wanted.image;
    const base = image?.id ?? '*';
    const claim = { ...wanted, image: wanted.image ?? NO_IMAGE, sandbox: '' };
    const ordinary = runtime.canClaim({ limits, network: 'off' }, claim);
    const special = ordinary ? '' : ` ${wanted.network} ${JSON.stringify(wanted.limits)}`;
    const key = `${base}${special}`;
    const pool = this.#pools.get(key) ?? this.#open(key, { ...wanted, image }, ordinary);
    const hasFloor = ordinary && (image === undefined || image.ref === defaultImage);
    if (hasFloor && pool !== this.#floored) {
      // The default image is a name, which may have moved: nothing is kept warm of what it was.
      if (this.#floored !== undefined) this.#floored.demand.floor = 0;
      pool.demand.floor = min;
      this.#floored = pool;
    }
    return pool;
  }

  #open(
    key: string,
    wanted: Pick<ClaimOptions, 'network' | 'limits'> & { image: Image | undefined },
    ordinary: boolean,
  ): Pool {
    const { limits, max } = this.#options;
    this.#makeRoom();
    const pool = new Pool({
      key,
      image: wanted.image,
      limits: ordinary ? limits : wanted.limits,
      network: ordinary ? 'off' : wanted.network,
      bounds: { floor: 0, ceiling: ordinary ? max : 0 },
    });
    this.#pools.set(key, pool);
    return pool;
  }

  /** For one more pool. @throws ServiceError `capacity_exhausted` if there is none to drop. */
  #makeRoom(): void {
    const { maxPools = MAX_POOLS } = this.#options;
    if (this.#pools.size < maxPools) return;
    this.#forgetIdle(0);
    if (this.#pools.size < maxPools) return;
    const droppable = [...this.#pools.values()].filter((pool) => !pool.busy && pool !== this.#floored);
    const [first, ...others] = droppable;
    if (first === undefined)
      throw new ServiceError('capacity_exhausted', 'too many kinds of containers are being started');
    const oldest = others.reduce((a, b) => (b.usedAtMs < a.usedAtMs ? b : a), first);
    this.#pools.delete(oldest.key);
    for (const { container, link } of oldest.close(new ServiceError('cancelled'))) {
      void this.#options.launcher.discard(container.id, link);
    }
  }

  #pumpSoon(afterMs = QUIET_MS): void {
    if (this.#resume !== undefined || this.#closed) return;
    this.#resume = setTimeout(() => {
      this.#resume = undefined;
      this.#pump();
    }, afterMs);
    this.#resume.unref();
  }

  #pump(): void {
    while (!this.#closed) {
      const next = nextToStart([...this.#pools.values()], {
        nowMs: performance.now(),
        claimedAtMs: this.#claimedAtMs,
        starting: this.#active,
        atOnce: this.#options.launchConcurrency,
        refills: !this.#paused,
        occupied: this.#options.occupied(),
        restedAtMs: this.#restedAtMs,
      });
      if (typeof next === 'number') return this.#pumpSoon(next);
      if (next === undefined) return;
      this.#start(next);
    }
  }

  #start(pool: Pool): void {
    const began = performance.now();
    pool.startBegins();
    this.#active += 1;
    this.#options.launcher.launch(pool.spec, this.#abort.signal).then(
      (launched) => {
        this.#over(began);
        if (this.#closed) return void this.#options.launcher.discard(launched.container.id, launched.link);
        pool.startSucceeded(launched, performance.now() - began, () => this.#watch(pool, launched));
        this.#options.onChange();
        this.#pump();
      },
      (error: unknown) => {
        this.#over(began);
        pool.startFailed(error, performance.now(), performance.now() - began);
        if (this.#closed) return;
        this.#options.log.warn({ err: error, pool: pool.key }, 'a container could not be started');
        this.#options.onChange();
        this.#pump();
      },
    );
  }

  /** A start has ended. The next refill leaves as much time to others as this start took. */
  #over(beganAtMs: number): void {
    this.#active -= 1;
    const now = performance.now();
    this.#restedAtMs = now + Math.min(now - beganAtMs, MAX_REST_MS);
  }

  /** Removes a container that dies while it waits. */
  #watch(pool: Pool, launched: Launched): void {
    const drop = (): void => this.#drop(pool, pool.remove(launched.container.id));
    launched.link.events = { disconnected: drop, hostile: drop };
    if (!launched.link.connected) drop();
  }

  #drop(pool: Pool, launched: Launched | undefined): void {
    if (launched === undefined) return;
    this.#options.log.warn({ container: launched.container.id, pool: pool.key }, 'a warm container was lost');
    void this.#options.launcher.discard(launched.container.id, launched.link);
    this.#options.onChange();
    this.#pumpSoon();
  }

  #sweep(): void {
    const now = performance.now();
    for (const pool of this.#pools.values()) {
      const extra = pool.surplus(now);
      if (extra !== undefined) void this.#options.launcher.discard(extra.container.id, extra.link);
      if (extra !== undefined) this.#options.onChange();
    }
    this.#forgetIdle(FORGET_MS);
    this.#pump();
  }

  #forgetIdle(afterMs: number): void {
    const now = performance.now();
    for (const [key, pool] of this.#pools) {
      if (pool.empty && pool.demand.target(now) === 0 && now - pool.usedAtMs >= afterMs) this.#pools.delete(key);
    }
  }
}

const NO_IMAGE: Image = { ref: '', id: '', env: {}, workdir: '/', user: '' };
