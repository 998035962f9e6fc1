/** Containers: launched, claimed, found again, ended. */
import { expect, test } from 'vitest';
import { ServiceError } from '../../../src/protocol/errors.ts';
import { until } from '../../testing/harness.ts';
import { Bench, LIMITS, run, type ContractSubject } from './subject.ts';

export function containerChapter(subject: ContractSubject): void {
  test('a launched container has connected with its token, and is listed as running', async () => {
    await using bench = await Bench.open(subject);
    const { container, link } = await bench.launch();
    expect(link.hello.blank).toBe(bench.runtime.imageAgnostic);
    const listed = (await bench.runtime.list()).find(({ id }) => id === container.id);
    expect(listed?.running).toBe(true);
    expect(container.imageId).toBe(bench.runtime.imageAgnostic ? null : bench.image.id);
  });

  test('a claimed container runs programs', async () => {
    await using bench = await Bench.open(subject);
    const { link } = await bench.claimed();
    expect(await run(link, ['echo', 'hello'])).toMatchObject({ stdout: 'hello\n', exit: { exitCode: 0 } });
    expect(await run(link, ['false'])).toMatchObject({ exit: { exitCode: 1 } });
  });

  test('a container can be claimed with limits other than those of its launch', async () => {
    await using bench = await Bench.open(subject);
    const launched = await bench.launch();
    const limits = { cpus: 2, memoryMb: 128, diskMb: null, pidsLimit: 100 };
    const wanted = { sandbox: 'sbx-a', image: bench.image, limits, network: 'off' as const };
    expect(bench.runtime.canClaim({ limits: LIMITS, network: 'off' }, wanted)).toBe(true);
    await bench.claim(launched, { limits });
    expect((await run(launched.link, ['true'])).exit.exitCode).toBe(0);
  });

  test('a container that has ended, or lost its boxinit, cannot be claimed', async () => {
    await using bench = await Bench.open(subject);
    const launched = await bench.launch();
    await subject.kill(bench.runtime, launched.container.id);
    await until('the link is lost', () => !launched.link.connected);
    await expect(bench.claim(launched)).rejects.toThrow(ServiceError);
  });

  test('destroy removes the container, may be repeated, and ignores unknown ids', async () => {
    await using bench = await Bench.open(subject);
    const { container, link } = await bench.claimed();
    const lost = new Promise<void>((resolve) => (link.events = { disconnected: () => resolve() }));
    await bench.runtime.destroy(container.id);
    expect(await bench.exists(container.id)).toBe(false);
    await lost;
    await Promise.all([bench.runtime.destroy(container.id), bench.runtime.destroy(container.id)]);
    await bench.runtime.destroy('mbx-never-was');
  });

  test('a container that ends by itself is reported, and listed as not running or not at all', async () => {
    await using bench = await Bench.open(subject);
    const { container } = await bench.claimed();
    const ended: string[] = [];
    const unsubscribe = bench.runtime.onExit((id) => ended.push(id));
    await subject.kill(bench.runtime, container.id);
    await until('the end is reported', () => ended.includes(container.id));
    const listed = (await bench.runtime.list()).find(({ id }) => id === container.id);
    expect(listed?.running ?? false).toBe(false);
    unsubscribe();
  });

  test('containers of one data directory are invisible to another', async () => {
    await using bench = await Bench.open(subject);
    await using other = await Bench.open(subject);
    const { container } = await bench.launch();
    expect(await other.exists(container.id)).toBe(false);
    expect(await bench.exists(container.id)).toBe(true);
  });

  test.for([0, 1, 5, 20, 50, 100, 200])('a launch aborted after %i ms leaves nothing behind', async (afterMs) => {
    await using bench = await Bench.open(subject);
    const abort = new AbortController();
    const image = bench.runtime.imageAgnostic ? undefined : bench.image;
    const launch = bench.launcher.launch({ poolKey: 'x', image, limits: LIMITS, network: 'off' }, abort.signal);
    setTimeout(() => abort.abort(new Error('given up')), afterMs);
    await launch.then(
      ({ container, link }) => bench.launcher.discard(container.id, link),
      () => undefined,
    );
    await bench.launcher.settled(AbortSignal.timeout(25_000));
    expect(await bench.runtime.list()).toEqual([]);
  });

  test('no OOM kill is counted where there was none', async () => {
    await using bench = await Bench.open(subject);
    const { container, link } = await bench.claimed();
    await run(link, ['true']);
    expect(await bench.runtime.oomKills(container.id)).toBe(0);
  });
}
