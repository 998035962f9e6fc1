import { expect, test } from 'vitest';
import { silent } from '../../lib/logger.ts';
import type { SandboxRecord } from '../../protocol/node.ts';
import { Node } from './node.ts';
import { watchStarts, type Started } from './starts.ts';

function sandboxOn(node: Node, record: Partial<SandboxRecord>): Started {
  return { node, accepted: true, record: { status: 'PENDING', reason: null, ...record } as SandboxRecord };
}

test('starts that fail in a row eject a node; of a sandbox that ran already nothing more is learnt', () => {
  const node = new Node('ws://a', 'a');
  const judge = watchStarts(silent);
  const running = sandboxOn(node, { status: 'RUNNING' });
  judge(running);
  for (let i = 0; i < 5; i++) {
    judge(sandboxOn(node, { status: 'ERROR', reason: 'start_failed' }));
    // Its lifetime was extended, say.
    judge(running);
  }
  expect(node.ejected).toBe(true);
  judge(sandboxOn(node, { status: 'RUNNING' }));
  expect(node.ejected).toBe(false);
});

test('what says nothing of the node is not held against it', () => {
  const node = new Node('ws://a', 'a');
  const judge = watchStarts(silent);
  for (let i = 0; i < 20; i++) {
    judge(sandboxOn(node, { status: 'PROVISIONING' }));
    judge(sandboxOn(node, { status: 'ERROR', reason: 'image_pull_failed' }));
    judge(sandboxOn(node, { status: 'TERMINATED', reason: 'deleted' }));
    judge({ ...sandboxOn(node, { status: 'ERROR', reason: 'start_failed' }), node: null });
    judge({ ...sandboxOn(node, { status: 'ERROR', reason: 'start_failed' }), accepted: false });
  }
  expect(node.ejected).toBe(false);
});
