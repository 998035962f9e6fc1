/**
 * A complete service whose nodes come from a real API server: gateway and agents from the build, and real sandboxes.
 * Like real-api-server.test.ts it runs if such a server has been built (`MILLIBOX_TEST_KUBERNETES=1`).
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Sandbox } from '../../../src/sdk/index.ts';
import { because, lacking } from '../../deploy/tools.ts';
import { freePort } from '../../helpers/ports.ts';
import { startStack, type TestStack } from '../../helpers/stack.ts';
import { until } from '../../helpers/until.ts';
import { ChartCluster, NAMESPACE } from './chart-cluster.ts';
import { CONTROL_PLANE_PROGRAMS, ControlPlane } from './control-plane.ts';
import { writeKubeconfig } from './kubeconfig.ts';

const LIMIT_MS = 120_000;
const NODES = [
  { node: 'node-1', ip: '127.0.0.2' },
  { node: 'node-2', ip: '127.0.0.3' },
] as const;

const missing = lacking(...CONTROL_PLANE_PROGRAMS, 'helm', 'openssl');

describe.skipIf(missing.length > 0)(`a gateway and a real API server${because(missing)}`, () => {
  let plane: ControlPlane;
  let cluster: ChartCluster;
  let stack: TestStack;

  beforeAll(async () => {
    plane = await ControlPlane.start();
    cluster = await ChartCluster.install(plane);
    await cluster.issueToken();
    for (const { node, ip } of NODES) {
      await cluster.addNode(node);
      await cluster.addPod({ node, ip });
    }
    const port = await freePort();
    const server = `https://127.0.0.1:${plane.port}`;
    stack = await startStack({
      agents: NODES.length,
      agentHosts: NODES.map(({ ip }) => ip),
      agentPorts: NODES.map(() => port),
      gatewayEnv: {
        MILLIBOX_NODES: '',
        MILLIBOX_DISCOVERY: 'kubernetes',
        MILLIBOX_KUBERNETES_CONFIG: writeKubeconfig({ dir: plane.dir, server, by: 'token', namespace: NAMESPACE }),
        MILLIBOX_KUBERNETES_PORT: String(port),
      },
    });
  }, 2 * LIMIT_MS);
  afterAll(async () => {
    await stack?.stop();
    await plane?.[Symbol.asyncDispose]();
  }, LIMIT_MS);

  const becomes = (name: string, state: string | undefined): Promise<void> =>
    until(
      async () => (await stack.operator.nodes()).find((node) => node.name === name)?.state === state,
      LIMIT_MS,
      `${name} to be ${state ?? 'gone'}`,
    );
  /** Creates several running sandboxes at once. */
  const make = async (count: number): Promise<Sandbox[]> => {
    const made = Array.from({ length: count }, () => stack.client.sandboxes.create({ memoryMb: 64 }));
    await Promise.all(made.map((sandbox) => sandbox.ready()));
    return made;
  };
  const nodesOf = (sandboxes: readonly Sandbox[]): string[] =>
    [...new Set(sandboxes.map(({ info }) => info.node ?? 'none'))].sort();
  const works = async (sandboxes: readonly Sandbox[]): Promise<void> => {
    for (const sandbox of sandboxes) expect((await sandbox.exec('echo on')).stdout).toBe('on\n');
  };
  const end = async (sandboxes: readonly Sandbox[]): Promise<void> => {
    await Promise.all(sandboxes.map((sandbox) => sandbox.delete()));
  };

  test('places on the nodes that it lists; a cordoned one gets nothing new', { timeout: LIMIT_MS }, async () => {
    const before = await make(6);
    expect(nodesOf(before)).toEqual(['node-1', 'node-2']);
    await cluster.changeNode('node-2', { unschedulable: true });
    await becomes('node-2', 'cordoned');
    const after = await make(4);
    expect(nodesOf(after)).toEqual(['node-1']);
    await works(before);
    await cluster.changeNode('node-2', { unschedulable: null });
    await becomes('node-2', 'ready');
    await end([...before, ...after]);
  });

  test('continues with the known nodes while the server is gone', { timeout: 2 * LIMIT_MS }, async () => {
    const before = await make(2);
    await plane.down();
    await works(before);
    const meanwhile = await make(6);
    expect(nodesOf(meanwhile)).toEqual(['node-1', 'node-2']);
    await works(meanwhile);
    await plane.up();
    await cluster.changeNode('node-1', { unschedulable: true });
    await becomes('node-1', 'cordoned');
    await cluster.changeNode('node-1', { unschedulable: null });
    await becomes('node-1', 'ready');
    await end([...before, ...meanwhile]);
  });

  test('drops a node whose pod is gone with its last sandbox', { timeout: 2 * LIMIT_MS }, async () => {
    const all = await make(6);
    await cluster.removePod('agent-node-2');
    await becomes('node-2', 'draining');
    const there = all.filter(({ info }) => info.node === 'node-2');
    expect(there.length).toBeGreaterThan(0);
    await works(there);
    await end(there);
    await becomes('node-2', undefined);
    await works(all.filter(({ info }) => info.node === 'node-1'));
    await cluster.addPod({ node: 'node-2', ip: '127.0.0.3' });
    await becomes('node-2', 'ready');
    await end(all);
  });
});
