import { expect, test } from 'vitest';
import { PerTurn } from '../../src/lib/per-turn.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import type { CreateGroup, SandboxSpec } from '../../src/protocol/node.ts';
import type { Sandbox } from '../sandboxes/sandbox.ts';
import { Harness, newSpec } from '../testing/harness.ts';
import { createMany } from './create-many.ts';

const wanted = (): boolean => true;
const group = (image: string, ids: string[]): CreateGroup => ({ spec: { id: 'first', image } as SandboxSpec, ids });

test('each sandbox is created under its own id; refused ones are listed with their reasons and affect no other', async () => {
  const made: string[] = [];
  const sandboxes = {
    create(spec: SandboxSpec): Sandbox {
      if (spec.id.startsWith('full')) throw new ServiceError('capacity_exhausted', 'no room');
      if (spec.id === 'gone') throw new ServiceError('sandbox_ended', 'the sandbox was deleted already');
      made.push(`${spec.image} ${spec.id}`);
      return {} as Sandbox;
    },
  };
  const groups = [group('a', ['one', 'full-1', 'two']), group('b', ['gone', 'full-2', 'three'])];
  const { refused } = await createMany(sandboxes, groups, new PerTurn(8), wanted);
  expect(made).toEqual(['a one', 'a two', 'b three']);
  expect(refused).toEqual([
    { ids: ['full-1', 'full-2'], error: expect.objectContaining({ code: 'capacity_exhausted', message: 'no room' }) },
    { ids: ['gone'], error: expect.objectContaining({ code: 'sandbox_ended' }) },
  ]);
});

test('the event loop gets a turn between creates', async () => {
  let made = 0;
  const seen: number[] = [];
  const sandboxes = {
    create(): Sandbox {
      made += 1;
      return {} as Sandbox;
    },
  };
  const ids = Array.from({ length: 200 }, (_, i) => `id-${i}`);
  const done = createMany(sandboxes, [group('a', ids)], new PerTurn(8), wanted);
  const look = (): void => {
    seen.push(made);
    if (made < 200) setImmediate(look);
  };
  setImmediate(look);
  await done;
  expect(made).toBe(200);
  expect(seen.length).toBeGreaterThan(5);
});

test('once nobody waits for the answer, no more are made', async () => {
  let made = 0;
  const sandboxes = {
    create(): Sandbox {
      made += 1;
      return {} as Sandbox;
    },
  };
  const ids = Array.from({ length: 20 }, (_, i) => `id-${i}`);
  const done = createMany(sandboxes, [group('a', ids)], new PerTurn(8), () => made < 12);
  await expect(done).rejects.toMatchObject({ code: 'cancelled' });
  expect(made).toBe(12);
});

test('over the link: a call behind a burst of creates is answered before the last of them', async () => {
  await using h = await Harness.fake();
  const answered: string[] = [];
  const creates = Array.from({ length: 100 }, (_, i) =>
    h.client.call({ op: 'create', spec: newSpec({ id: `sbx-burst-${i}` }) }).then(() => answered.push('create')),
  );
  const call = h.client.call({ op: 'images' }).then(() => answered.push('call'));
  await Promise.all([...creates, call]);
  expect(answered.indexOf('call')).toBeLessThan(50);
});

test('over the link: a call behind a burst of deletes is answered before the last of them', async () => {
  await using h = await Harness.fake();
  const ids = Array.from({ length: 100 }, (_, i) => `sbx-burst-${i}`);
  await h.client.call({ op: 'createMany', groups: [{ spec: newSpec(), ids }] });
  const answered: string[] = [];
  const deletes = ids.map((sandbox) =>
    h.client.call({ op: 'delete', sandbox, reason: 'deleted' }).then(() => answered.push('delete')),
  );
  const call = h.client.call({ op: 'images' }).then(() => answered.push('call'));
  await Promise.all([...deletes, call]);
  expect(answered.indexOf('call')).toBeLessThan(50);
  expect(h.agent.sandboxes.list().every(({ status }) => status === 'TERMINATED')).toBe(true);
});

test('over the link: a node that fills up midway accepts what fits, and those run', async () => {
  await using h = await Harness.fake({}, { MILLIBOX_MAX_SANDBOXES: '5' });
  const ids = Array.from({ length: 8 }, (_, i) => `sbx-many-${i}`);
  const call = { op: 'createMany', groups: [{ spec: newSpec(), ids }] };
  const answer = await h.client.call(call);
  expect(answer['refused']).toMatchObject([{ ids: ids.slice(5), error: { code: 'capacity_exhausted' } }]);
  for (const id of ids.slice(0, 5)) await h.reaches(id, 'RUNNING');
  // The same batch again, as after a lost answer, yields the same sandboxes.
  expect((await h.client.call(call))['refused']).toMatchObject([{ ids: ids.slice(5) }]);
  expect(h.agent.sandboxes.list()).toHaveLength(5);
});

test('over the link: a malformed batch is refused', async () => {
  await using h = await Harness.fake();
  for (const groups of [undefined, 'all', [{ spec: {}, ids: ['a'] }], [{ spec: newSpec(), ids: 'a' }]]) {
    await expect(h.client.call({ op: 'createMany', groups })).rejects.toMatchObject({ code: 'invalid_request' });
  }
  expect(h.agent.sandboxes.list()).toHaveLength(0);
});
