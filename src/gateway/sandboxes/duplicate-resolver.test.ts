import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { silent, type Logger } from '../../lib/logger.ts';
import type { SandboxRecord } from '../../protocol/node.ts';
import { Node } from '../nodes/node.ts';
import type { Reaper } from './reaper.ts';
import { DuplicateResolver } from './duplicate-resolver.ts';
import { Store } from './store.ts';

const pending: SandboxRecord = {
  id: 'sbx-1',
  tenant: 'red',
  name: null,
  image: 'an-image',
  labels: {},
  cpus: 1,
  memoryMb: 512,
  diskMb: 1_024,
  pidsLimit: 100,
  network: 'off',
  status: 'PENDING',
  reason: null,
  message: null,
  createdAtMs: 1,
  startedAtMs: null,
  endedAtMs: null,
  expiresAtMs: 1_000_000,
  timings: {},
};
const running: SandboxRecord = { ...pending, status: 'RUNNING', startedAtMs: 2 };

/**
 * A gateway that was about to send a sandbox to `second` when `first` says that it has it. Who owns it is asked, and that
 * fails so often first.
 */
function meeting(log: Logger = silent, failures: readonly Error[] = []) {
  const store = new Store(silent);
  const [first, second] = [new Node('ws://first', 'first'), new Node('ws://second', 'second')];
  const owner = Promise.withResolvers<string>();
  const failing = [...failures];
  const ownerOf = (): Promise<string> => {
    const failure = failing.shift();
    return failure === undefined ? owner.promise : Promise.reject(failure);
  };
  const reaped: string[] = [];
  const reaper = { reap: (node: Node) => Promise.resolve(void reaped.push(node.name)) } as unknown as Reaper;
  const duplicates = new DuplicateResolver({ store, reaper, owners: { ownerOf }, log, settleMs: 1 });
  store.onDuplicate((entry, node) => duplicates.resolve(entry, node));
  const entry = store.add(pending);
  store.assign(entry, second);
  store.take(first, running);
  const live = (): number[] => [first.live, second.live];
  const decided = async (name: string): Promise<void> => {
    owner.resolve(name);
    await vi.advanceTimersByTimeAsync(10);
  };
  return { store, first, second, entry, reaped, live, decided };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test('the node that owns it keeps it, and the other one ends it', async () => {
  const { store, second, entry, reaped, live, decided } = meeting();
  store.take(second, running);
  expect(live()).toEqual([0, 1]);
  await decided('first');
  expect(live()).toEqual([1, 0]);
  expect(reaped).toEqual(['second']);
  store.end(entry, 'deleted', null);
  expect(live()).toEqual([0, 0]);
});

test('a create that is turned down leaves to its node what another gateway has made of it', async () => {
  const { store, first, entry, reaped, live, decided } = meeting();
  expect(store.discard(entry)).toBe(true);
  await decided('first');
  expect(store.get(entry.id)).toMatchObject({ node: first, accepted: true, record: { status: 'RUNNING' } });
  expect({ live: live(), reaped }).toEqual({ live: [1, 0], reaped: [] });
  store.end(entry, 'deleted', null);
  expect(live()).toEqual([0, 0]);
});

test('a node that has become the only one to have it keeps it', async () => {
  const { store, first, entry, reaped, live, decided } = meeting();
  store.assign(entry, null);
  store.take(first, { ...running, timings: { placedMs: 1 } });
  await decided('first');
  expect({ live: live(), reaped }).toEqual({ live: [1, 0], reaped: [] });
  expect(entry.ended).toBe(false);
});

test('that it is not known which node keeps a sandbox is said once, with the reason', async () => {
  const warn = vi.fn();
  const failed = new Error('WRONGTYPE');
  const { store, second, reaped, decided } = meeting({ ...silent, warn }, [failed, failed]);
  store.take(second, running);
  await vi.advanceTimersByTimeAsync(5_000);
  const said = warn.mock.calls.filter(([fields]) => (fields as { err?: unknown }).err === failed);
  expect(said).toHaveLength(1);
  await decided('first');
  expect(reaped).toEqual(['second']);
});
