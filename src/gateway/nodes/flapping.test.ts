/** Links that break and come back again and again while sandboxes are created: none is lost, none is duplicated. */
import { afterEach, expect, test } from 'vitest';
import type { SandboxSpec } from '../../protocol/node.ts';
import { FakeNode } from '../testing/fake-node.ts';
import { TestGateway } from '../testing/harness.ts';

let gateway: TestGateway;
afterEach(() => gateway[Symbol.asyncDispose]());

const CREATES = 60;
const create = async (): Promise<{ id: string; status: string }> =>
  (await gateway.ask('POST', '/v1/sandboxes?waitMs=20000', { body: {} })).json;
const homesOf = (nodes: readonly FakeNode[], id: string): string[] =>
  nodes.filter(({ records }) => records.get(id)?.status === 'RUNNING').map(({ name }) => name);

/** Breaks its link on every third create: either before the node has it, or after, with the answer still to come. */
function breakUnderCreates(node: FakeNode): void {
  let count = 0;
  node.intercept = (stream) => {
    if (stream.request['op'] !== 'create') return undefined;
    count += 1;
    if (count % 3 !== 0) return undefined;
    if (count % 2 === 0) node.make(stream.request['spec'] as unknown as SandboxSpec);
    queueMicrotask(() => node.cut());
    return {};
  };
}

test.each([1, 2])('sandboxes created while links flap each end up on exactly one node: %i nodes', async (count) => {
  const nodes = Array.from({ length: count }, (_, i) => new FakeNode({ name: `node-${i}` }));
  gateway = await TestGateway.start(nodes);
  for (const node of nodes) breakUnderCreates(node);
  const made: string[] = [];
  for (let i = 0; i < CREATES; i += 4) {
    const four = await Promise.all(Array.from({ length: 4 }, create));
    expect(four.map(({ status }) => status)).toEqual(four.map(() => 'RUNNING'));
    made.push(...four.map(({ id }) => id));
  }
  for (const node of nodes) node.intercept = null;
  const { sandboxes, registry } = gateway.services;
  await gateway.until('all links are up', () => registry.all.every(({ up }) => up));
  await gateway.until('each has one home', () => made.every((id) => homesOf(nodes, id).length === 1));
  expect(new Set(made).size).toBe(CREATES);
  for (const id of made) {
    expect(sandboxes.get('default', id)).toMatchObject({ status: 'RUNNING', node: homesOf(nodes, id)[0] });
  }
  const alive = nodes.flatMap(({ records }) => [...records.values()].filter(({ status }) => status === 'RUNNING'));
  expect(alive).toHaveLength(CREATES);
  expect(nodes.reduce((sum, { dials }) => sum + dials, 0)).toBeGreaterThan(5);
});

test('a link that flaps with no create in flight ejects no node; one that breaks on each create does', async () => {
  const [good, bad] = ['good', 'bad'].map((name) => new FakeNode({ name })) as [FakeNode, FakeNode];
  gateway = await TestGateway.start([good, bad]);
  const { registry } = gateway.services;
  const node = registry.byName('bad');
  for (let i = 0; i < 8; i++) {
    bad.cut();
    await gateway.until('the gateway has seen it', () => node?.state === 'away');
    await gateway.until('the link is back', () => node?.up === true);
  }
  expect(node?.ejected).toBe(false);
  bad.intercept = (stream) => {
    if (stream.request['op'] !== 'create') return undefined;
    queueMicrotask(() => bad.cut());
    return {};
  };
  for (let i = 0; i < CREATES && node?.ejected !== true; i++) {
    await gateway.until('the link is back', () => node?.up === true);
    expect((await create()).status).toBe('RUNNING');
  }
  expect(node?.ejected).toBe(true);
  expect(registry.byName('good')?.ejected).toBe(false);
});
