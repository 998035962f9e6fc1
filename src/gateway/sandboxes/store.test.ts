import { expect, onTestFinished, test, vi } from 'vitest';
import { silent } from '../../lib/logger.ts';
import { TOMBSTONE_KEPT_MS } from '../../protocol/limits.ts';
import { pendingRecord, type SandboxRecord } from '../../protocol/node.ts';
import { CreateSandboxRequest } from '../../protocol/sandbox.ts';
import { Node } from '../nodes/node.ts';
import { endedRecord } from './entry.ts';
import { specsOf } from './spec.ts';
import { Store } from './store.ts';

function aPending(): SandboxRecord {
  const [spec] = specsOf('red', CreateSandboxRequest.parse({}), 'an-image', 1);
  if (spec === undefined) throw new Error('no spec');
  return pendingRecord(spec);
}

test('a sandbox whose create another gateway refused may be made again under its id', async () => {
  const store = new Store(silent);
  const strays: string[] = [];
  store.onStray((_node, id) => strays.push(id));
  const pending = aPending();
  store.hear(pending);
  const waiting = store.get(pending.id);
  const ends = waiting?.wait(() => waiting.ended, 60_000);

  store.withdrawn(endedRecord(pending, 'deleted', null, 2));
  expect(await ends).toBe(true);
  expect(store.get(pending.id)).toBeUndefined();
  expect([...store.of('red', null)]).toEqual([]);

  store.take(new Node('ws://node', 'node'), { ...pending, status: 'RUNNING', startedAtMs: 3 });
  expect(store.get(pending.id)?.record.status).toBe('RUNNING');
  expect(strays).toEqual([]);
  store.stop();
});

test('a sandbox whose create another gateway refused stays if it was sent to a node here', () => {
  const store = new Store(silent);
  const pending = aPending();
  const entry = store.add(pending);
  store.assign(entry, new Node('ws://node', 'node'));
  store.withdrawn(endedRecord(pending, 'deleted', null, 2));
  expect(store.get(pending.id)?.ended).toBe(false);
  store.stop();
});

/** One that waits elsewhere, and what nodes are told to delete. */
function heard(): { store: Store; pending: SandboxRecord; node: Node; strays: string[] } {
  const store = new Store(silent);
  onTestFinished(() => store.stop());
  const strays: string[] = [];
  store.onStray((node, id, reason) => strays.push(`${node.name} ${id} ${reason}`));
  const pending = aPending();
  store.hear(pending);
  return { store, pending, node: new Node('ws://node', 'node'), strays };
}
const overdue = (pending: SandboxRecord): SandboxRecord => endedRecord(pending, 'start_failed', 'Too long.', 2);
const running = (pending: SandboxRecord): SandboxRecord => ({ ...pending, status: 'RUNNING', startedAtMs: 3 });

test('a create that was refused is forgotten, unless a node may have it', () => {
  const { store, pending } = heard();
  const entry = store.get(pending.id);
  if (entry === undefined) return expect.unreachable();
  entry.sent = true;
  expect(store.discard(entry)).toBe(false);
  entry.sent = false;
  expect(store.discard(entry)).toBe(true);
  expect(store.get(pending.id)).toBeUndefined();
});

test('that it has waited too long elsewhere does not end what a node has; a delete does, and the node is told', () => {
  const { store, pending, node, strays } = heard();
  store.take(node, running(pending));
  store.hear(overdue(pending));
  expect(store.get(pending.id)?.record.status).toBe('RUNNING');
  store.hear(endedRecord(pending, 'deleted', null, 2));
  expect(store.get(pending.id)?.record).toMatchObject({ status: 'TERMINATED', reason: 'deleted' });
  expect(strays).toEqual([`node ${pending.id} deleted`]);
});

test('one that has waited too long elsewhere counts if it arrives at the node that it is on its way to', () => {
  const { store, pending, node, strays } = heard();
  const entry = store.get(pending.id);
  if (entry === undefined) return expect.unreachable();
  store.assign(entry, node);
  entry.sent = true;
  store.hear(overdue(pending));
  expect(entry.ended).toBe(true);
  store.take(node, running(pending));
  expect(entry.record.status).toBe('RUNNING');
  expect(strays).toEqual([]);
});

test('one that ended for want of its gateway waits again with it, but not once it was deleted', () => {
  const { store, pending, node, strays } = heard();
  const entry = store.get(pending.id);
  if (entry === undefined) return expect.unreachable();
  store.hear(overdue(pending));
  store.hear(pending);
  expect(entry.record.status).toBe('PENDING');
  store.hear(overdue(pending));
  expect(store.renounce(entry)).toMatchObject({ id: pending.id, status: 'TERMINATED', reason: 'deleted' });
  expect(store.renounce(entry)).toBeNull();
  store.hear(pending);
  expect(entry.ended).toBe(true);
  store.take(node, running(pending));
  expect(strays).toEqual([`node ${pending.id} deleted`]);
});

test('a status is never older than the last one that was heard', () => {
  const { store, pending, node } = heard();
  store.take(node, running(pending));
  store.take(node, { ...pending, status: 'PROVISIONING' });
  expect(store.get(pending.id)?.record.status).toBe('RUNNING');
});

test('of two nodes that have it the other keeps it when one has ended it for being there twice', () => {
  const { store, pending, node } = heard();
  const other = { name: 'other', up: true, live: 0, liveCpus: 0 } as Node;
  store.onDuplicate(() => undefined);
  store.take(node, running(pending));
  store.take(other, running(pending));
  store.take(node, endedRecord(running(pending), 'internal', null, 4));
  expect(store.get(pending.id)).toMatchObject({ node: other, record: { status: 'RUNNING' } });
});

test('one that this gateway gave up on its way to a node stays ended, and the node is told when it arrives', () => {
  const { store, pending, node, strays } = heard();
  const entry = store.get(pending.id);
  if (entry === undefined) return expect.unreachable();
  entry.sent = true;
  store.end(entry, 'start_failed', 'Too long.');
  store.take(node, running(pending));
  expect(entry.ended).toBe(true);
  expect(strays).toEqual([`node ${pending.id} start_failed`]);
});

test('one that came back and ended again answers for an hour from its last end', () => {
  vi.useFakeTimers({ toFake: ['performance'] });
  onTestFinished(() => void vi.useRealTimers());
  const { store, pending } = heard();
  store.hear(overdue(pending));
  store.sweep();
  vi.advanceTimersByTime(TOMBSTONE_KEPT_MS - 1);
  store.hear(pending);
  store.sweep();
  store.hear(overdue(pending));
  store.sweep();
  vi.advanceTimersByTime(TOMBSTONE_KEPT_MS - 1);
  store.sweep();
  expect(store.get(pending.id)?.ended).toBe(true);
  vi.advanceTimersByTime(2);
  store.sweep();
  expect(store.get(pending.id)).toBeUndefined();
});

test.each<[string, (store: Store, id: string) => void]>([
  ['while its node was away', (store, id) => store.end(store.get(id)!, 'deleted', null)],
  [
    'once its node was lost',
    (store, id) => {
      store.end(store.get(id)!, 'node_lost', null);
      store.renounce(store.get(id)!);
    },
  ],
])('one that was deleted %s does not come back with the node, however long that takes', (_when, remove) => {
  vi.useFakeTimers({ toFake: ['performance'] });
  onTestFinished(() => void vi.useRealTimers());
  const { store, pending, node, strays } = heard();
  const alive = { ...running(pending), expiresAtMs: Infinity };
  store.take(node, alive);
  remove(store, pending.id);
  store.sweep();
  vi.advanceTimersByTime(3 * TOMBSTONE_KEPT_MS);
  store.sweep();
  store.take(node, alive);
  expect(strays).toEqual([`node ${pending.id} deleted`]);
  // Once the node has confirmed it, it is forgotten as all others are.
  store.take(node, endedRecord(alive, 'deleted', null, 4));
  store.sweep();
  expect(store.get(pending.id)).toBeUndefined();
});

test('nor does one that another gateway deleted meanwhile, and that this one never had', () => {
  vi.useFakeTimers({ toFake: ['performance'] });
  onTestFinished(() => void vi.useRealTimers());
  const { store, node, strays } = heard();
  const alive = { ...running(aPending()), expiresAtMs: Infinity };
  const deleted = endedRecord(alive, 'deleted', null, 4);
  store.hear(deleted);
  store.sweep();
  vi.advanceTimersByTime(3 * TOMBSTONE_KEPT_MS);
  store.sweep();
  store.take(node, alive);
  expect(strays).toEqual([`node ${alive.id} deleted`]);
  store.take(node, deleted);
  store.sweep();
  expect(store.get(alive.id)).toBeUndefined();
});

test('one that was deleted while its node was away is forgotten when its lifetime is over', () => {
  vi.useFakeTimers({ toFake: ['performance'] });
  onTestFinished(() => void vi.useRealTimers());
  const { store, pending, node } = heard();
  store.take(node, { ...running(pending), expiresAtMs: Date.now() - 1 });
  store.end(store.get(pending.id)!, 'deleted', null);
  store.sweep();
  vi.advanceTimersByTime(TOMBSTONE_KEPT_MS + 1);
  store.sweep();
  expect(store.get(pending.id)).toBeUndefined();
});
