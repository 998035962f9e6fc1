import { expect, test } from 'vitest';
import type { SandboxRecord } from '../../protocol/node.ts';
import { QueueView } from './queue-view.ts';
import type { QueueHooks } from './queue.ts';

test('a record that could not be applied is no longer marked as being applied, so Redis learns of its end', () => {
  const queue = new QueueView();
  const applied: (string | null)[] = [];
  const fails = (): never => {
    applied.push(queue.applying);
    throw new Error('fault');
  };
  queue.start({ reported: fails, withdrawn: fails } as unknown as QueueHooks);
  const record = { id: 'sbx-1' } as SandboxRecord;
  expect(() => queue.apply(record)).toThrow('fault');
  expect(queue.applying).toBe(null);
  expect(() => queue.applyWithdrawal(record)).toThrow('fault');
  expect(queue.applying).toBe(null);
  expect(applied).toEqual(['sbx-1', 'sbx-1']);
});
