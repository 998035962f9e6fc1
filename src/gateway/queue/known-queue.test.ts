import { expect, test } from 'vitest';
import type { SandboxRecord } from '../../protocol/node.ts';
import { KnownQueue } from './known-queue.ts';
import type { QueueHooks } from './queue.ts';

test('a record that could not be passed on is not being passed on any more, so Redis is told of its end', () => {
  const queue = new KnownQueue();
  const told: (string | null)[] = [];
  const fails = (): never => {
    told.push(queue.telling);
    throw new Error('fault');
  };
  queue.start({ heard: fails, withdrawn: fails } as unknown as QueueHooks);
  const record = { id: 'sbx-1' } as SandboxRecord;
  expect(() => queue.tell(record)).toThrow('fault');
  expect(queue.telling).toBe(null);
  expect(() => queue.tellWithdrawn(record)).toThrow('fault');
  expect(queue.telling).toBe(null);
  expect(told).toEqual(['sbx-1', 'sbx-1']);
});
