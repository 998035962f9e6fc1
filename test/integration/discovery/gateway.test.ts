/** A gateway with nodes from Kubernetes: what happens to sandboxes when pods are replaced, drained and deleted. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { AGENT_SELECTOR, node, pod } from '../../../src/gateway/discovery/testing/objects.ts';
import { FakeNode } from '../../../src/gateway/testing/fake-node.ts';
import { TestGateway } from '../../../src/gateway/testing/harness.ts';
import { until } from '../../helpers/until.ts';
import { ApiServer } from './api-server.ts';

const LEAVE_MS = 600_000;
const LIMIT_MS = 60_000;

let server: ApiServer;
let gateway: TestGateway;
let a: FakeNode;
let b: FakeNode;

beforeEach(async () => {
  server = await ApiServer.start();
  a = new FakeNode({ name: 'a', url: 'ws://10.0.0.1:8701' });
  b = new FakeNode({ name: 'b', url: 'ws://10.0.0.2:8701' });
  server.model.put('nodes', node('a'));
  server.model.put('pods', pod({ node: 'a', ip: '10.0.0.1' }));
});
afterEach(async () => {
  await gateway?.[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

async function start(...nodes: FakeNode[]): Promise<void> {
  gateway = await TestGateway.start(nodes, {
    nodes: [],
    discovery: {
      source: {
        type: 'kubernetes',
        kubernetes: {
          namespace: null,
          selector: AGENT_SELECTOR,
          port: 8701,
          followNodes: true,
          ignoreTaints: [],
          configFile: server.kubeconfig('token'),
        },
      },
      family: 'auto',
      leaveMs: LEAVE_MS,
      emptyMs: 60_000,
    },
  });
  await state('a', 'ready');
}

const state = (name: string, expected: string | undefined): Promise<void> =>
  gateway.until(`${name} to be ${expected ?? 'gone'}`, () => {
    const found = gateway.services.nodes.list().find((each) => each.name === name);
    return found?.state === expected;
  });
const status = async (id: string): Promise<string> => (await gateway.ask('GET', `/v1/sandboxes/${id}`)).json.status;

test('an agent whose pod is replaced keeps its sandboxes, and calls wait for it', async () => {
  const moved = new FakeNode({ name: 'a', url: 'ws://10.0.0.3:8701' });
  await start(a, moved);
  const id = await gateway.sandbox();
  server.model.put('pods', pod({ node: 'a', ip: '10.0.0.1', deleting: true }));
  await state('a', 'draining');
  // The agent ends, the next one adopts what it left.
  a.vanish();
  for (const [key, record] of a.records) moved.records.set(key, record);
  server.model.delete('pods', 'agent-a');
  const exec = gateway.exec(id, { stdout: 'adopted' });
  server.model.put('pods', pod({ name: 'agent-a2', node: 'a', ip: '10.0.0.3' }));
  expect((await exec).json.stdout).toBe('adopted');
  await state('a', 'ready');
  expect(await status(id)).toBe('RUNNING');
  expect(moved.deleted).toEqual([]);
});

test('a cordoned node gets nothing new; its sandboxes continue', async () => {
  server.model.put('nodes', node('b'));
  server.model.put('pods', pod({ node: 'b', ip: '10.0.0.2' }));
  await start(a, b);
  await state('b', 'ready');
  const before = await gateway.sandbox();
  server.model.put('nodes', node('b', { unschedulable: true }));
  await state('b', 'cordoned');
  for (let i = 0; i < 6; i++) {
    const id = await gateway.sandbox();
    expect((await gateway.ask('GET', `/v1/sandboxes/${id}`)).json.node).toBe('a');
  }
  expect((await gateway.exec(before, { stdout: 'on' })).json.stdout).toBe('on');
});

test('a queued create is placed when a node is uncordoned', async () => {
  await start(a);
  server.model.put('nodes', node('a', { unschedulable: true }));
  await state('a', 'cordoned');
  const { json } = await gateway.ask('POST', '/v1/sandboxes', { body: {} });
  expect(json.status).toBe('PENDING');
  server.model.put('nodes', node('a'));
  await until(async () => (await status(json.id)) === 'RUNNING', LIMIT_MS, 'it to run');
});

test('a node no longer listed is dropped with its last sandbox', async () => {
  server.model.put('nodes', node('b'));
  server.model.put('pods', pod({ node: 'b', ip: '10.0.0.2' }));
  await start(a, b);
  await state('b', 'ready');
  server.model.put('nodes', node('a', { unschedulable: true }));
  await state('a', 'cordoned');
  const onB = await gateway.sandbox();
  server.model.put('nodes', node('a'));
  server.model.delete('pods', 'agent-b');
  await state('b', 'draining');
  expect((await gateway.exec(onB, { stdout: 'still' })).json.stdout).toBe('still');
  await gateway.ask('DELETE', `/v1/sandboxes/${onB}`);
  await state('b', undefined);
  expect(await status(onB)).toBe('TERMINATED');
});

test('sandboxes are created and commands run while the API server is away', async () => {
  await start(a);
  await server.down();
  const id = await gateway.sandbox();
  expect((await gateway.exec(id, { stdout: 'x' })).json.stdout).toBe('x');
  expect((await gateway.ask('GET', '/readyz')).status).toBe(200);
  await server.up();
});
