import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { silent } from '../../src/lib/logger.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import { FakeRuntime, type FakeRuntimeOptions } from '../runtime/fake/fake-runtime.ts';
import type { ClaimOptions } from '../runtime/runtime.ts';
import { until } from '../testing/harness.ts';
import { ContainerHomes } from './container-homes.ts';
import { Launcher } from './launcher.ts';
import { Pools, type PoolsOptions } from './pools.ts';

const LIMITS = { cpus: 1, memoryMb: 64, diskMb: null, pidsLimit: 64 };

class Fixture implements AsyncDisposable {
  readonly dataDir = mkdtempSync(path.join(tmpdir(), 'mbx-'));
  readonly runtime: FakeRuntime;
  readonly launcher: Launcher;
  readonly pools: Pools;

  constructor(fake: FakeRuntimeOptions = {}, options: Partial<PoolsOptions> = {}) {
    this.runtime = new FakeRuntime(fake);
    this.launcher = new Launcher(this.runtime, new ContainerHomes(this.dataDir), silent);
    this.pools = new Pools({
      runtime: this.runtime,
      launcher: this.launcher,
      limits: LIMITS,
      min: 0,
      max: 10,
      defaultImage: 'image',
      launchConcurrency: 4,
      occupied: () => false,
      log: silent,
      onChange: () => undefined,
      ...options,
    });
    this.runtime.onExit((id) => this.pools.exited(id));
  }

  async claim(changes: Partial<ClaimOptions> = {}): Promise<ClaimOptions> {
    const image = await this.runtime.images.ensure('image', {});
    return { sandbox: 'sbx', image, limits: LIMITS, network: 'off', ...changes };
  }

  async filled(count: number): Promise<void> {
    this.pools.prewarm(await this.runtime.images.ensure('image', {}));
    await until('the pool is full', () => this.pools.states()[0]?.warm === count);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pools.close({ destroy: true });
    this.runtime.destroyAll();
    rmSync(this.dataDir, { recursive: true, force: true });
  }
}

const never = new AbortController().signal;

/** How many starts of the first pool are in progress at once, at most, while the work lasts. */
async function mostStarts(f: Fixture, work: Promise<unknown>): Promise<number> {
  let most = 0;
  const look = setInterval(() => (most = Math.max(most, f.pools.states()[0]?.starting ?? 0)), 1);
  await work;
  clearInterval(look);
  return most;
}

afterEach(() => vi.restoreAllMocks());

test('a pool fills to its floor, and again after a claim', async () => {
  await using f = new Fixture({}, { min: 3 });
  await f.filled(3);
  expect(f.pools.takeWarm(await f.claim())).toBeDefined();
  await f.filled(3);
});

test('the containers of an image that has several names are counted once', async () => {
  await using f = new Fixture({}, { min: 3 });
  await f.filled(3);
  const { image } = await f.claim();
  f.pools.takeWarm(await f.claim({ image: { ...image, ref: 'docker.io/library/image:latest' } }));
  f.pools.takeWarm(await f.claim({ image: { ...image, ref: 'other:1' } }));
  await until('it is full again', () => f.pools.totals().warm === 3);
  const all = { warm: 3, starting: 0, target: 3 };
  expect(f.pools.states()).toEqual(['image:latest', 'other:1'].map((key) => ({ key, ...all })));
  expect(f.pools.totals()).toEqual(all);
});

test('setting the clock back delays no refill', async () => {
  await using f = new Fixture({}, { min: 3 });
  await f.filled(3);
  expect(f.pools.takeWarm(await f.claim())).toBeDefined();
  vi.spyOn(Date, 'now').mockReturnValue(Date.now() - 3_600_000);
  await until('it is full again', () => f.pools.states()[0]?.warm === 3);
});

test('when the default image has moved, its new pool gets the floor, and the old one drains', async () => {
  await using f = new Fixture({}, { min: 2 });
  await f.filled(2);
  f.runtime.images.moved.set('image', 'sha256:new');
  const { image } = await f.runtime.images.refresh('image', {});
  expect(f.pools.takeWarm(await f.claim({ image }))).toBeUndefined();
  // A pool without target and containers is forgotten only later.
  await until(
    'only the new one is full',
    () =>
      f.pools
        .states()
        .map(({ warm }) => warm)
        .join() === '0,2',
  );
  expect(f.pools.states().map(({ target }) => target)).toEqual([0, 2]);
});

test('a container is handed out once', async () => {
  await using f = new Fixture({}, { min: 5 });
  await f.filled(5);
  const wanted = await f.claim();
  const warm = [1, 2, 3, 4, 5].map(() => f.pools.takeWarm(wanted)?.container.id);
  const cold = await Promise.all(Array.from({ length: 30 }, () => f.pools.waitFor(wanted, never)));
  const ids = [...warm, ...cold.map(({ container }) => container.id)];
  expect(new Set(ids).size).toBe(35);
  expect(ids).not.toContain(undefined);
});

test('waiting claims are served in order of arrival, with no more starts than needed', async () => {
  await using f = new Fixture({ launchMs: 5 });
  const wanted = await f.claim();
  const order: number[] = [];
  await Promise.all(
    Array.from({ length: 12 }, async (_, at) => {
      await f.pools.waitFor(wanted, never);
      order.push(at);
    }),
  );
  expect(order).toEqual(Array.from({ length: 12 }, (_, at) => at));
  expect(f.runtime.launches).toBe(12);
});

test('across kinds of containers, the claim that has waited longest is served first', async () => {
  await using f = new Fixture({ launchMs: 50 }, { launchConcurrency: 1 });
  const order: string[] = [];
  const claim = async (name: string, network: 'off' | 'internet'): Promise<void> => {
    await f.pools.waitFor(await f.claim({ network }), never);
    order.push(name);
  };
  const first = claim('first', 'off');
  await until('it is being made', () => f.pools.states()[0]?.starting === 1);
  const second = claim('second', 'internet');
  await until('two wait', () => f.pools.states().length === 2);
  await Promise.all([first, second, claim('third', 'off')]);
  expect(order).toEqual(['first', 'second', 'third']);
});

test('concurrent starts are bounded', async () => {
  await using f = new Fixture({ launchMs: 10 }, { launchConcurrency: 2 });
  const wanted = await f.claim();
  const all = Promise.all(Array.from({ length: 8 }, () => f.pools.waitFor(wanted, never)));
  expect(await mostStarts(f, all)).toBeLessThanOrEqual(2);
});

test.each([
  ['one after the other, with pauses, while there are sandboxes', true],
  ['several at once otherwise', false],
])('refills go %s', async (_how, occupied) => {
  await using f = new Fixture({ launchMs: 10 }, { min: 6, occupied: () => occupied });
  let [running, most] = [0, 0];
  const starts: { began: number; ended: number }[] = [];
  vi.spyOn(f.runtime, 'launch').mockImplementation(async (options) => {
    const began = performance.now();
    most = Math.max(most, ++running);
    const container = await FakeRuntime.prototype.launch.call(f.runtime, options);
    running -= 1;
    starts.push({ began, ended: performance.now() });
    return container;
  });
  await f.filled(6);
  expect(most).toBe(occupied ? 1 : 4);
  for (const [at, { began }] of starts.entries()) {
    const last = starts[at - 1];
    // A timer may fire early by a fraction of a millisecond.
    if (occupied && last !== undefined) expect(began).toBeGreaterThan(last.ended + (last.ended - last.began) - 2);
  }
});

test('claims that wait are served by all starts at once, sandboxes or not', async () => {
  await using f = new Fixture({ launchMs: 20 }, { occupied: () => true });
  const wanted = await f.claim();
  const all = Promise.all(Array.from({ length: 8 }, () => f.pools.waitFor(wanted, never)));
  expect(await mostStarts(f, all)).toBe(4);
});

test('a failed start is retried for the waiting claim, a bounded number of times', async () => {
  await using f = new Fixture();
  const wanted = await f.claim();
  f.runtime.failures.push(new Error('once'), new Error('twice'));
  expect((await f.pools.waitFor(wanted, never)).link.connected).toBe(true);
  f.runtime.failures.push(...Array.from({ length: 9 }, () => new Error('broken')));
  await expect(f.pools.waitFor(wanted, never)).rejects.toMatchObject({ code: 'internal' });
});

test('a start that can only fail again is not retried', async () => {
  await using f = new Fixture();
  f.runtime.failures.push(new ServiceError('capacity_exhausted'));
  await expect(f.pools.waitFor(await f.claim(), never)).rejects.toMatchObject({ code: 'capacity_exhausted' });
  expect(f.runtime.launches).toBe(1);
});

test('an abandoned claim leaves the queue, and its container serves the next one', async () => {
  await using f = new Fixture({ launchMs: 50 });
  const wanted = await f.claim();
  const abort = new AbortController();
  const first = f.pools.waitFor(wanted, abort.signal);
  const second = f.pools.waitFor(wanted, never);
  abort.abort(new ServiceError('cancelled'));
  await expect(first).rejects.toMatchObject({ code: 'cancelled' });
  await second;
});

test('a container that dies while warm is not handed out, and is replaced', async () => {
  await using f = new Fixture({}, { min: 2 });
  await f.filled(2);
  const dead = (await f.runtime.list()).map(({ id }) => id);
  for (const id of dead) f.runtime.kill(id);
  const launched = f.pools.takeWarm(await f.claim()) ?? (await f.pools.waitFor(await f.claim(), never));
  expect(dead).not.toContain(launched.container.id);
  expect(launched.link.connected).toBe(true);
});

/** Takes a container of the pool and returns it. It does not answer pings until `answer` or `miss` is called. */
function takeAside(f: Fixture, wanted: ClaimOptions) {
  const launched = f.pools.takeWarm(wanted);
  if (launched === undefined) throw new Error('none waits');
  const pinged = Promise.withResolvers<number>();
  let pings = 0;
  launched.link.ping = () => {
    pings += 1;
    return pinged.promise;
  };
  f.pools.adopt(launched, wanted.image);
  return {
    id: launched.container.id,
    launched,
    pings: () => pings,
    answer: () => pinged.resolve(1),
    miss: () => pinged.reject(new ServiceError('deadline_exceeded')),
  };
}

test('a container in doubt is not handed out until it has answered a ping', async () => {
  await using f = new Fixture({}, { min: 1 });
  await f.filled(1);
  f.pools.pause(true);
  const wanted = await f.claim();
  const { id, launched, answer, pings } = takeAside(f, wanted);
  f.pools.doubt(launched.poolKey);
  f.pools.doubt(launched.poolKey);
  expect(f.pools.takeWarm(wanted)).toBeUndefined();
  expect(pings()).toBe(1);
  answer();
  await until('it is trusted', () => f.pools.takeWarm(wanted)?.container.id === id);
});

test('a waiting claim gets a container in doubt as soon as that has answered a ping', async () => {
  await using f = new Fixture({}, { min: 1 });
  await f.filled(1);
  const wanted = await f.claim();
  const { id, launched, answer } = takeAside(f, wanted);
  const started = Promise.withResolvers<void>();
  const launch = f.runtime.launch.bind(f.runtime);
  f.runtime.launch = (options) => started.promise.then(() => launch(options));
  f.pools.doubt(launched.poolKey);
  expect(f.pools.takeWarm(wanted)).toBeUndefined();
  const waiting = f.pools.waitFor(wanted, never);
  answer();
  expect((await waiting).container.id).toBe(id);
  // Its exit no longer concerns the pool.
  expect(launched.link.events).toEqual({});
  started.resolve();
  await f.filled(1);
});

test('a waiting claim gets a container of the previous agent as soon as it is adopted', async () => {
  await using f = new Fixture({}, { min: 1 });
  await f.filled(1);
  const started = Promise.withResolvers<void>();
  const launch = f.runtime.launch.bind(f.runtime);
  f.runtime.launch = (options) => started.promise.then(() => launch(options));
  const wanted = await f.claim();
  const launched = f.pools.takeWarm(wanted);
  if (launched === undefined) throw new Error('none waits');
  const waiting = f.pools.waitFor(wanted, never);
  expect(f.pools.adopt(launched, wanted.image)).toBe(true);
  expect((await waiting).container.id).toBe(launched.container.id);
  expect(launched.link.events).toEqual({});
  started.resolve();
  await f.filled(1);
});

test('a claim does not wait for a container in doubt, which is replaced if it does not answer', async () => {
  await using f = new Fixture({}, { min: 1 });
  await f.filled(1);
  const wanted = await f.claim();
  const { id, launched, miss } = takeAside(f, wanted);
  f.pools.doubt(launched.poolKey);
  const next = f.pools.takeWarm(wanted) ?? (await f.pools.waitFor(wanted, never));
  expect(next.container.id).not.toBe(id);
  miss();
  await until('it is gone', async () => (await f.runtime.list()).every((each) => each.id !== id));
  await f.filled(1);
});

test('a claim that no pool container satisfies gets a container of its own kind', async () => {
  await using f = new Fixture({}, { min: 1 });
  await f.filled(1);
  const wanted = await f.claim({ network: 'internet' });
  expect(f.pools.takeWarm(wanted)).toBeUndefined();
  expect((await f.pools.waitFor(wanted, never)).network).toBe('internet');
});

test('refills stop while the node drains, but claims are still served', async () => {
  await using f = new Fixture({}, { min: 2 });
  f.pools.pause(true);
  f.pools.prewarm(await f.runtime.images.ensure('image', {}));
  expect((await f.pools.waitFor(await f.claim(), never)).link.connected).toBe(true);
  expect(f.pools.states()[0]?.warm).toBe(0);
  f.pools.pause(false);
  await until('it is filled', () => f.pools.states()[0]?.warm === 2);
});

test('close rejects waiting claims, and with `destroy` leaves no container', async () => {
  const f = new Fixture({ launchMs: 50 }, { min: 1 });
  const waiting = f.pools.waitFor(await f.claim(), never);
  const failed = expect(waiting).rejects.toMatchObject({ code: 'draining' });
  await f[Symbol.asyncDispose]();
  await failed;
  expect(await f.runtime.list()).toEqual([]);
});

test('a container that exits at its start costs the waiting claim nothing but time', async () => {
  await using f = new Fixture();
  const wanted = await f.claim();
  const launch = f.runtime.launch.bind(f.runtime);
  f.runtime.launch = (options) => {
    f.runtime.launch = launch;
    f.launcher.exited(options.id);
    return Promise.resolve({ id: options.id, imageId: wanted.image.id });
  };
  const launched = await f.pools.waitFor(wanted, never);
  expect(launched.link.connected).toBe(true);
  expect(f.runtime.launches).toBe(1);
});

test('many concurrent start failures count as one for the waiting claim', async () => {
  await using f = new Fixture({ launchMs: 20 }, { min: 4 });
  for (let i = 0; i < 4; i += 1) f.runtime.failures.push(new Error('the machine had a bad moment'));
  const wanted = await f.claim();
  f.pools.prewarm(wanted.image);
  const launched = await f.pools.waitFor(wanted, never);
  expect(launched.link.connected).toBe(true);
  expect(f.runtime.failures).toEqual([]);
});

test('beyond the pool limit the least recently used is dropped with its warm containers, or the claim is refused', async () => {
  await using f = new Fixture({ launchMs: 20 }, { maxPools: 3, min: 1 });
  await f.filled(1);
  const [one, two, three] = await Promise.all(['one', 'two', 'three'].map((ref) => f.runtime.images.ensure(ref, {})));
  const kept = await f.pools.waitFor(await f.claim({ image: one! }), never);
  f.pools.adopt(kept, one);
  f.pools.adopt(await f.pools.waitFor(await f.claim({ image: two! }), never), two);
  await f.pools.waitFor(await f.claim({ image: three! }), never);
  expect(f.pools.states().map(({ key }) => key)).toEqual(['image:latest', 'two:latest', 'three:latest']);
  await until('the warm one is gone', async () => !(await f.runtime.list()).some(({ id }) => id === kept.container.id));

  const busy = [two, three].map(async (image) => await f.pools.waitFor(await f.claim({ image: image! }), never));
  await until('both wait', () => f.pools.states().filter(({ starting }) => starting > 0).length === 2);
  const refused = f.pools.waitFor(await f.claim({ image: one! }), never);
  await expect(refused).rejects.toMatchObject({ code: 'capacity_exhausted' });
  await Promise.all(busy);
});
