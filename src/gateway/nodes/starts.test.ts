import { expect, test } from 'vitest';
import { silent } from '../../lib/logger.ts';
import type { SandboxRecord } from '../../protocol/node.ts';
import { Node } from './node.ts';
import { watchStarts, type Started } from './starts.ts';

function sandboxOn(node: Node, record: Partial<SandboxRecord>): Started {
  return { node, accepted: true, record: { status: 'PENDING', reason: null, ...record } as SandboxRecord };
}

test('consecutive failed starts eject a node; a sandbox that has already run proves nothing more', () => {
  const node = new Node('ws://a', 'a');
  const judge = watchStarts(silent);
  const running = sandboxOn(node, { status: 'RUNNING' });
  judge(running);
  for (let i = 0; i < 5; i++) {
    judge(sandboxOn(node, { status: 'ERROR', reason: 'start_failed' }));
    // As when its lifetime is extended.
    judge(running);
  }
  expect(node.ejected).toBe(true);
  judge(sandboxOn(node, { status: 'RUNNING' }));
  expect(node.ejected).toBe(false);
});

test('an outcome that proves nothing about the node is not held against it', () => {
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
