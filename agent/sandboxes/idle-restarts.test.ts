import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Harness } from '../testing/harness.ts';

test('an agent that restarts often still ends an idle sandbox', async () => {
  await using h = await Harness.fake();
  const [idle, other] = [await h.sandbox({ idleTimeoutMs: 2_000 }), await h.sandbox()];
  // Each life is much shorter than the timeout, all together are much longer.
  for (let lives = 0; lives < 100 && h.record(idle.id).status === 'RUNNING'; lives += 1) {
    await sleep(100);
    await h.restart();
  }
  expect(h.record(idle.id)).toMatchObject({ status: 'TIMEOUT', reason: 'idle' });
  expect(h.record(other.id).status).toBe('RUNNING');
});

test('a sandbox that is used under each agent stays alive', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox({ idleTimeoutMs: 20_000 });
  for (let lives = 0; lives < 3; lives += 1) {
    await h.client.exec(id, { argv: ['true'] });
    await h.restart();
  }
  expect(h.record(id).status).toBe('RUNNING');
});
