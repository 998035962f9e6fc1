import { expect, test } from 'vitest';
import { silent } from '../../lib/logger.ts';
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
