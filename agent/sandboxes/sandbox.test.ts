import { expect, test } from 'vitest';
import type { ServiceError } from '../../src/protocol/errors.ts';
import { SandboxStatus } from '../../src/protocol/sandbox.ts';
import { newSpec } from '../testing/harness.ts';
import { Sandbox, newRecord } from './sandbox.ts';

const ALLOWED = new Set([
  'PENDING>PROVISIONING',
  'PENDING>TERMINATED',
  'PENDING>ERROR',
  'PENDING>TIMEOUT',
  'PROVISIONING>RUNNING',
  'PROVISIONING>TERMINATED',
  'PROVISIONING>ERROR',
  'PROVISIONING>TIMEOUT',
  'RUNNING>TERMINATED',
  'RUNNING>ERROR',
  'RUNNING>TIMEOUT',
]);

function make(status: SandboxStatus = 'PENDING'): Sandbox {
  const spec = newSpec({ secrets: { KEY: 'hidden' } });
  return new Sandbox(spec, { ...newRecord(spec, Date.now()), status });
}

test('a sandbox only moves forward, and nothing follows an end', () => {
  for (const from of SandboxStatus.options) {
    for (const to of SandboxStatus.options) {
      const sandbox = make(from);
      if (ALLOWED.has(`${from}>${to}`)) {
        sandbox.move(to);
        expect(sandbox.record.status).toBe(to);
      } else expect(() => sandbox.move(to)).toThrow('cannot go');
    }
  }
});

test('calls queue until it is running, in order', () => {
  const sandbox = make('PROVISIONING');
  const order: string[] = [];
  for (const name of ['a', 'b']) sandbox.whenRunning({ ready: () => order.push(name), failed: () => undefined });
  expect(order).toEqual([]);
  sandbox.move('RUNNING');
  sandbox.letIn();
  sandbox.whenRunning({ ready: () => order.push('c'), failed: () => undefined });
  expect(order).toEqual(['a', 'b', 'c']);
});

test('the end fails waiting calls, but not cancelled ones, and discards secrets', () => {
  const sandbox = make('PROVISIONING');
  const told: string[] = [];
  const gone = { ready: () => undefined, failed: () => void told.push('cancelled') };
  sandbox.whenRunning({ ready: () => undefined, failed: (error: ServiceError) => void told.push(error.code) });
  sandbox.whenRunning(gone);
  sandbox.cancel(gone);
  sandbox.end({ reason: 'start_failed', message: 'why' }, 5);
  expect(told).toEqual([]);
  sandbox.tellEnd();
  expect(told).toEqual(['sandbox_ended']);
  expect(sandbox.record).toMatchObject({ status: 'ERROR', reason: 'start_failed', message: 'why', endedAtMs: 5 });
  expect(sandbox.provisioning.signal.aborted).toBe(true);
  expect(JSON.stringify([sandbox.spec, sandbox.env, sandbox.record])).not.toContain('hidden');
  expect(() => sandbox.whenRunning(gone)).toThrow('ended');
});

test('the queue is bounded', () => {
  const sandbox = make('PROVISIONING');
  const call = (): void => sandbox.whenRunning({ ready: () => undefined, failed: () => undefined });
  expect(() => {
    for (let i = 0; i < 2_000; i += 1) call();
  }).toThrow('waiting for this sandbox');
});
