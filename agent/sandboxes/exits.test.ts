import { expect, test } from 'vitest';
import { Harness, until } from '../testing/harness.ts';

test.each([
  [true, 'oom', 'out of memory'],
  [false, 'internal', 'the container ended by itself'],
  [null, 'internal', 'the container ended by itself, possibly out of memory: the cause cannot be determined'],
])('a container that ended, for want of memory: %s, ends its sandbox as %s', async (oomKilled, reason, message) => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  h.runtime.kill(h.containerOf(id), { oomKilled });
  await until('the sandbox has ended', () => h.record(id).endedAtMs !== null);
  expect(h.record(id)).toMatchObject({ status: 'ERROR', reason, message });
});
