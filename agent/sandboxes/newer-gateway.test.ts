/** A gateway newer than the agent: unknown fields are ignored, or refused one by one. */
import { expect, test } from 'vitest';
import { Harness, newSpec } from '../testing/harness.ts';

test('a newer gateway is served as far as this agent understands its requests', async () => {
  await using h = await Harness.fake();
  const spec = { ...newSpec(), gpus: 2, network: 'off' as const };
  const create = { op: 'create', spec, hurry: true };
  expect(await h.client.call(create)).toMatchObject({ id: spec.id, network: 'off' });
  await h.reaches(spec.id, 'RUNNING');
  await expect(h.client.call({ op: 'freeze', sandbox: spec.id })).rejects.toMatchObject({ code: 'not_supported' });
  // Must not be guessed: an unknown kind of network.
  const other = { op: 'create', spec: { ...newSpec(), network: 'some' } };
  await expect(h.client.call(other)).rejects.toMatchObject({ code: 'invalid_request' });
  await h.client.call({ op: 'delete', sandbox: spec.id, reason: 'evicted' });
  expect(h.record(spec.id)).toMatchObject({ status: 'ERROR', reason: 'internal' });
});
