import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { silent, type Logger } from '../../src/lib/logger.ts';
import { TOMBSTONE_KEPT_MS } from '../../src/protocol/limits.ts';
import { newSpec } from '../testing/harness.ts';
import { Ledger, type SandboxChange } from './ledger.ts';
import type { RecordStore } from './record-store.ts';
import { newRecord, Sandbox } from './sandbox.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test('an ended sandbox whose record cannot be removed is logged and forgotten anyway', () => {
  const readOnly = new Error('EROFS: read-only file system');
  const store = {
    save: () => undefined,
    seal: () => undefined,
    remove: () => {
      throw readOnly;
    },
  };
  const logged: object[] = [];
  const log: Logger = { ...silent, error: (fields) => logged.push(fields) };
  const ledger = new Ledger(store as unknown as RecordStore, log);
  const changes: SandboxChange[] = [];
  ledger.onChange((change) => changes.push(change));
  const spec = newSpec();
  const sandbox = new Sandbox(spec, newRecord(spec, Date.now()));
  ledger.add(sandbox);
  ledger.bury(sandbox);
  vi.advanceTimersByTime(TOMBSTONE_KEPT_MS + 1);
  expect(ledger.find(sandbox.id)).toBeUndefined();
  expect(changes.at(-1)).toEqual({ type: 'forgotten', id: sandbox.id });
  expect(logged).toEqual([{ err: readOnly, sandbox: sandbox.id }]);
});
