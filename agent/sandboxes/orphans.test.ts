import { expect, test } from 'vitest';
import { silent } from '../../src/lib/logger.ts';
import { Orphans } from './orphans.ts';

test('a container that has just stopped is left to the runtime, which knows why; later its exit is reported here', async () => {
  const told: string[] = [];
  const containers = new Map([
    ['mbx-a', true],
    ['mbx-b', true],
  ]);
  const runtime = { list: () => Promise.resolve([...containers].map(([id, running]) => ({ id, running }))) };
  const owned = new Set(containers.keys());
  const orphans = new Orphans({
    runtime: runtime as never,
    homes: { list: () => Promise.resolve([]) } as never,
    launcher: { isPending: () => false } as never,
    isOwned: (id) => owned.has(id),
    stopped: (id) => void told.push(id),
    log: silent,
  });
  await orphans.look();
  containers.set('mbx-a', false).set('mbx-b', false);
  await orphans.look();
  expect(told).toEqual([]);
  owned.delete('mbx-a');
  await orphans.look();
  expect(told).toEqual(['mbx-b']);
  orphans.close();
});
