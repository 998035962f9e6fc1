/** A box of an earlier agent with an unreadable record is left alone: its sandbox may be running. */
import { mkdirSync, readFileSync, renameSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Bench, LIMITS, run } from '../../../agent/runtime/contract/subject.ts';
import { isAlive } from '../../../agent/runtime/oci/pids.ts';
import type { ContainerRuntime } from '../../../agent/runtime/runtime.ts';
import { until } from '../../helpers/until.ts';
import { ociSubject, processOf } from './subject.ts';

const LIMIT_MS = 60_000;
const subject = ociSubject();

test('it continues, its image is in use, and it is adopted once its record can be read', async () => {
  await using bench = await Bench.open(subject);
  const { container, link } = await bench.claimed();
  const record = join(bench.dataDir, 'oci', 'boxes', container.id, 'state.json');
  const text = readFileSync(record, 'utf8');
  const of = { id: container.id, running: true };
  // Truncated, and as a newer release might write it.
  for (const other of [text.slice(0, -10), JSON.stringify({ ...JSON.parse(text), by: 'something new' })]) {
    writeFileSync(record, other);
    const later = await subject.open(bench.dataDir);
    expect(await later.list()).toEqual([{ ...of, imageId: null }]);
    expect((await later.images.list()).filter(({ inUse }) => inUse)).toHaveLength(1);
    expect((await run(link, ['echo', 'lives'])).stdout).toBe('lives\n');

    writeFileSync(record, text);
    expect(await later.list()).toEqual([{ ...of, imageId: bench.image.id }]);
    expect((await later.images.list()).filter(({ inUse }) => inUse)).toHaveLength(1);
    await later.close();
  }
});

test('the same holds if only its image is unreadable; it can be destroyed like any other', async () => {
  await using bench = await Bench.open(subject);
  const { container } = await bench.claimed();
  const box = processOf(bench.runtime, container.id);
  const image = join(bench.dataDir, 'oci', 'boxes', container.id, 'image');
  renameSync(image, `${image}.kept`);
  // Makes reading fail, even for root.
  mkdirSync(image);
  const later = await subject.open(bench.dataDir);
  expect(await later.list()).toEqual([{ id: container.id, running: true, imageId: null }]);
  expect((await later.images.list()).filter(({ inUse }) => inUse)).toHaveLength(1);
  rmdirSync(image);
  mkdirSync(image);
  await later.destroy(container.id);
  expect(isAlive(box)).toBe(false);
  expect(await later.list()).toEqual([]);
  expect((await later.images.list()).filter(({ inUse }) => inUse)).toEqual([]);
  await later.close();
});

test('its OOM kills are counted nevertheless', async () => {
  await using bench = await Bench.open(subject);
  const { container, link } = await bench.claimed();
  const hog = 'my @all; push @all, "x" x 1048576 while 1';
  expect((await run(link, ['perl', '-e', hog])).exit.signal).toBe('KILL');
  hide(bench, [container.id]);
  const later = await subject.open(bench.dataDir);
  expect(await later.oomKills(container.id)).toBeGreaterThan(0);
  await later.close();
});

/** Makes these records unreadable. Returns a function that undoes it. */
function hide(bench: Bench, ids: string[]): () => void {
  const kept = ids.map((id) => {
    const record = join(bench.dataDir, 'oci', 'boxes', id, 'state.json');
    return { record, text: readFileSync(record, 'utf8') };
  });
  for (const { record } of kept) writeFileSync(record, '{');
  return () => kept.forEach(({ record, text }) => writeFileSync(record, text));
}
const inUse = async (runtime: ContainerRuntime): Promise<string[]> =>
  (await runtime.images.list()).filter((image) => image.inUse).map(({ id }) => id);

test('one that becomes readable only when destroyed leaves the image to another sandbox on it', async () => {
  await using bench = await Bench.open(subject);
  const [one, other] = [(await bench.claimed()).container.id, (await bench.claimed()).container.id];
  const restore = hide(bench, [one]);
  const later = await subject.open(bench.dataDir);
  restore();
  await later.destroy(one);
  expect(await inUse(later)).toEqual([bench.image.id]);
  await later.destroy(other);
  expect(await inUse(later)).toEqual([]);
  await later.close();
});

test('two concurrent looks adopt each once: nobody uses the image when they are gone', async () => {
  await using bench = await Bench.open(subject);
  const ids = [(await bench.claimed()).container.id, (await bench.claimed()).container.id];
  const restore = hide(bench, ids);
  const later = await subject.open(bench.dataDir);
  restore();
  await Promise.all([later.list(), later.list()]);
  for (const id of ids) await later.destroy(id);
  expect(await inUse(later)).toEqual([]);
  await later.close();
});

test('one that becomes readable while being destroyed is not adopted: its exit is not reported', async () => {
  await using bench = await Bench.open(subject);
  const { id } = (await bench.claimed()).container;
  const restore = hide(bench, [id]);
  const later = await subject.open(bench.dataDir);
  const told: string[] = [];
  later.onExit((each) => told.push(each));
  const destroyed = later.destroy(id);
  // By now it has looked for the record, and waits for the processes to exit.
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
  restore();
  await later.list();
  await destroyed;
  expect(await inUse(later)).toEqual([]);
  expect(told).toEqual([]);
  await later.close();
});

test('a warm one without an image is claimed, and holds its image until it is gone', async () => {
  await using bench = await Bench.open(subject);
  const launched = await bench.launch();
  const { id } = launched.container;
  const restore = hide(bench, [id]);
  const later = await subject.open(bench.dataDir);
  restore();
  const limits = { ...LIMITS };
  await later.claim(launched.container, launched.link, { sandbox: 'sbx', image: bench.image, limits, network: 'off' });
  await later.list();
  expect(await inUse(later)).toEqual([bench.image.id]);
  await later.destroy(id);
  expect(await inUse(later)).toEqual([]);
  await later.close();
});

test('one that exited meanwhile is not running', async () => {
  await using bench = await Bench.open(subject);
  const { container } = await bench.claimed();
  const box = processOf(bench.runtime, container.id);
  writeFileSync(join(bench.dataDir, 'oci', 'boxes', container.id, 'state.json'), '{');
  process.kill(box.pid, 'SIGKILL');
  await until(() => !isAlive(box), LIMIT_MS, 'its end');
  const later = await subject.open(bench.dataDir);
  expect(await later.list()).toEqual([{ id: container.id, running: false, imageId: null }]);
  await later.close();
});
