import { expect, test } from 'vitest';
import { until } from '../../../testing/harness.ts';
import { VethRemoval } from './veth-removal.ts';

function machine(patienceMs: number) {
  const there = new Set<string>();
  const removed: string[] = [];
  const vethRemoval = new VethRemoval({
    devices: () => [...there].map((name) => `${name}: 0 0\n`).join(''),
    remove: (device) => {
      removed.push(device);
      there.delete(device);
      return Promise.resolve();
    },
    patienceMs,
  });
  return { there, removed, vethRemoval };
}

test('each call resolves when its own device is gone, and a device that goes by itself is not removed', async () => {
  const { there, removed, vethRemoval } = machine(60_000);
  const names = ['mba', 'mbb', 'mbc'];
  for (const name of names) there.add(name);
  const gone: string[] = [];
  const all = names.map((name) => vethRemoval.whenGone(name).then(() => gone.push(name)));
  for (const name of names) {
    there.delete(name);
    await until(`${name} is gone`, () => gone.includes(name));
    expect(gone).toEqual(names.slice(0, gone.length));
  }
  await Promise.all(all);
  expect(removed).toEqual([]);
});

test('a veth that does not go by itself is removed', async () => {
  const { there, removed, vethRemoval } = machine(0);
  there.add('mba');
  await Promise.all([vethRemoval.whenGone('mba'), vethRemoval.whenGone('mba')]);
  expect(removed).toEqual(['mba']);
});

test('a veth that is missing or of unknown state counts as gone', async () => {
  await machine(60_000).vethRemoval.whenGone('mba');
  const vethRemoval = new VethRemoval({
    devices: () => {
      throw new Error('no such namespace');
    },
    remove: () => Promise.resolve(),
    patienceMs: 60_000,
  });
  await vethRemoval.whenGone('mba');
});
