/** A box of an earlier agent whose record cannot be read is left alone: its sandbox may be running. */
import { mkdirSync, readFileSync, renameSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Bench, run } from '../../../agent/runtime/contract/subject.ts';
import { isAlive } from '../../../agent/runtime/oci/pids.ts';
import { until } from '../../helpers/until.ts';
import { ociSubject, processOf } from './subject.ts';

const LIMIT_MS = 60_000;
const subject = ociSubject();

test('it runs on, its image is in use, and it is taken back once its record can be read', async () => {
  await using bench = await Bench.open(subject);
  const { container, link } = await bench.claimed();
  const record = join(bench.dataDir, 'oci', 'boxes', container.id, 'state.json');
  const text = readFileSync(record, 'utf8');
  const of = { id: container.id, running: true };
  // Cut off, and as a newer release might write it.
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

test('so is one of which only the image cannot be read; it ends as any other when that is asked for', async () => {
  await using bench = await Bench.open(subject);
  const { container } = await bench.claimed();
  const box = processOf(bench.runtime, container.id);
  const image = join(bench.dataDir, 'oci', 'boxes', container.id, 'image');
  renameSync(image, `${image}.kept`);
  // Reading it fails, even for root.
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

test('one that ended meanwhile is not running', async () => {
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
