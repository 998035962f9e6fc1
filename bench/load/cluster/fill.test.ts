import { expect, test } from 'vitest';
import { Random } from '../random/random.ts';
import { decideWhenFull, fillCluster } from './fill.ts';
import { SimulatedCluster } from './simulated-cluster.ts';

const SHAPE = { nodes: 60, sandboxes: 3_000, fill: 1, images: 20 };

test('a cluster is filled to its last place, no node beyond its own, and halfway all are equally full', async () => {
  const cluster = new SimulatedCluster(SHAPE, new Random(1));
  const filled = await fillCluster(cluster, cluster.room, () => undefined);
  expect(filled).toMatchObject({ placed: cluster.room, missed: 0 });
  expect(filled.placement.count).toBe(cluster.room);
  for (const node of cluster.nodes) expect(node.live).toBe(node.maxSandboxes);
  // With random placement, small nodes would be full by now, and large ones to a third.
  expect(filled.half.deviation).toBeLessThan(0.2);
});

test('sandboxes beyond the capacity of the cluster are not placed', async () => {
  const cluster = new SimulatedCluster(SHAPE, new Random(2));
  const filled = await fillCluster(cluster, cluster.room + 10, () => undefined);
  expect(filled).toMatchObject({ placed: cluster.room, missed: 10 });
  expect(decideWhenFull(cluster, 3).count).toBe(3);
});
