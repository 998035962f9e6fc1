/** Nodes from an API server over TLS, with network and server faults. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { DiscoveredNode } from '../../../src/gateway/discovery/discovery.ts';
import { KubernetesDiscovery, type KubernetesOptions } from '../../../src/gateway/discovery/kubernetes/kubernetes.ts';
import { AGENT_SELECTOR, node, pod } from '../../../src/gateway/discovery/testing/objects.ts';
import { silent } from '../../../src/lib/logger.ts';
import { until } from '../../helpers/until.ts';
import { ApiServer } from './api-server.ts';
import { publishedOf, untilPublished } from './published.ts';

const LIMIT_MS = 60_000;
const QUICK = { firstPauseMs: 20, maxPauseMs: 200, refusedPauseMs: 200, requestMs: 5_000 };

let server: ApiServer;
let discovery: KubernetesDiscovery | null;
let nodes: readonly DiscoveredNode[] | null;
let whole: boolean;

beforeEach(async () => {
  server = await ApiServer.start();
  discovery = null;
  nodes = null;
});
afterEach(async () => {
  await discovery?.stop();
  await server[Symbol.asyncDispose]();
});

function discover(more: Partial<KubernetesOptions> = {}): void {
  discovery = new KubernetesDiscovery({
    namespace: null,
    selector: AGENT_SELECTOR,
    port: 8701,
    family: 'auto',
    followNodes: true,
    ignoreTaints: [],
    configFile: server.kubeconfig('token'),
    log: silent,
    ...more,
    timings: { ...QUICK, ...more.timings },
  });
  discovery.start((published, all) => {
    nodes = published;
    whole = all;
  });
}

const published = (): string[] | null => publishedOf(nodes);
const publishes = (...expected: string[]): Promise<void> => untilPublished(published, expected, LIMIT_MS);

const watching = (): Promise<void> => until(() => server.model.watches.size === 2, LIMIT_MS, 'both watches');
/** Watches requested so far. */
const asked = (): number => server.model.asked.filter(({ query }) => query['watch'] !== undefined).length;

/** Two nodes, one of which is cordoned. */
function twoNodes(): void {
  server.model.put('nodes', node('a'));
  server.model.put('nodes', node('b', { unschedulable: true }));
  server.model.put('pods', pod({ node: 'a', ip: '10.0.0.1' }));
  server.model.put('pods', pod({ node: 'b', ip: '10.0.0.2' }));
  // Not one of ours.
  server.model.put('pods', pod({ name: 'other', node: 'a', ip: '10.0.0.9', labels: { app: 'other' } }));
}
const BOTH = ['a in 10.0.0.1:8701', 'b cordoned 10.0.0.2:8701'];

describe('a client', () => {
  test.each(['token', 'certificate'] as const)('is identified by its %s', async (by) => {
    twoNodes();
    discover({ configFile: server.kubeconfig(by) });
    await publishes(...BOTH);
    expect(server.model.asked.find(({ collection }) => collection === 'pods')?.query).toMatchObject({
      labelSelector: AGENT_SELECTOR,
    });
  });

  test('with a replaced token is identified by the new one', async () => {
    twoNodes();
    discover();
    writeFileSync(join(server.dir, 'token'), 'an old token');
    await until(() => server.attempts > 3, LIMIT_MS, 'it to be turned away');
    expect(published()).toBeNull();
    server.kubeconfig('token');
    await publishes(...BOTH);
  });

  test('accepts nothing from a server with another CA', async () => {
    twoNodes();
    await using other = await ApiServer.start();
    const config = server.kubeconfig('token');
    writeFileSync(join(server.dir, 'ca.crt'), other.ca);
    discover({ configFile: config });
    await until(() => server.attempts > 2, LIMIT_MS, 'it to try');
    expect(published()).toBeNull();
    expect(server.model.asked).toEqual([]);
  });
});

test('a gateway that starts while an agent is being replaced does not take the others for all', async () => {
  twoNodes();
  server.model.put('pods', pod({ node: 'b', ip: null, phase: 'Pending', ready: false }));
  discover();
  await publishes('a in 10.0.0.1:8701');
  expect(whole).toBe(false);
  server.model.put('pods', pod({ node: 'b', ip: '10.0.0.2' }));
  await publishes(...BOTH);
  expect(whole).toBe(true);
});

describe('changes in the cluster', () => {
  beforeEach(async () => {
    twoNodes();
    discover();
    await publishes(...BOTH);
    await watching();
  });

  test('cordon, drain, taint and deletion of Nodes are followed', async () => {
    server.model.put('nodes', node('b'));
    await publishes('a in 10.0.0.1:8701', 'b in 10.0.0.2:8701');
    server.model.put('nodes', node('a', { taints: [{ key: 'upgrade', effect: 'NoSchedule' }] }));
    await publishes('a cordoned 10.0.0.1:8701', 'b in 10.0.0.2:8701');
    server.model.delete('nodes', 'b');
    await publishes('a cordoned 10.0.0.1:8701', 'b cordoned 10.0.0.2:8701');
    server.model.delete('pods', 'agent-b');
    await publishes('a cordoned 10.0.0.1:8701');
  });

  test('a replaced pod is the same node at another address, of any family', async () => {
    server.model.put('pods', pod({ node: 'a', ip: '10.0.0.1', deleting: true }));
    await publishes('a leaving 10.0.0.1:8701', 'b cordoned 10.0.0.2:8701');
    server.model.delete('pods', 'agent-a');
    server.model.put('pods', pod({ name: 'agent-a2', node: 'a', ip: null, phase: 'Pending', ready: false }));
    await publishes('b cordoned 10.0.0.2:8701');
    server.model.put('pods', pod({ name: 'agent-a2', node: 'a', ip: 'fd00::5', ready: false }));
    await publishes('a cordoned [fd00::5]:8701', 'b cordoned 10.0.0.2:8701');
    server.model.put('pods', pod({ name: 'agent-a2', node: 'a', ip: 'fd00::5' }));
    await publishes('a in [fd00::5]:8701', 'b cordoned 10.0.0.2:8701');
  });

  test('a recreated pod of the same name is not removed with the old one', async () => {
    server.model.put('pods', pod({ node: 'a', ip: '10.0.0.7', uid: 'another' }));
    await publishes('a in 10.0.0.7:8701', 'b cordoned 10.0.0.2:8701');
  });
});

describe('when the API server', () => {
  beforeEach(async () => {
    twoNodes();
    discover();
    await publishes(...BOTH);
    await watching();
  });

  test('is away, known nodes stay, and missed changes are seen when it is back', async () => {
    await server.down();
    server.model.delete('pods', 'agent-b');
    server.model.put('pods', pod({ node: 'c', ip: '10.0.0.3' }));
    server.model.put('nodes', node('c'));
    // Longer than all pauses between two attempts.
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    expect(published()).toEqual(BOTH);
    await server.up();
    await publishes('a in 10.0.0.1:8701', 'c in 10.0.0.3:8701');
  });

  test('was away for too long to resume a watch, everything is listed again', async () => {
    await server.down();
    server.model.delete('pods', 'agent-b');
    server.model.compact();
    await server.up();
    await publishes('a in 10.0.0.1:8701');
  });

  test('breaks connections, the watches continue', async () => {
    for (let round = 0; round < 3; round++) {
      server.cut();
      server.model.put('pods', pod({ node: 'a', ip: `10.0.1.${round}` }));
      await publishes(`a in 10.0.1.${round}:8701`, 'b cordoned 10.0.0.2:8701');
    }
    await watching();
    // Each exchange has its own connection: none is left over.
    await until(() => server.connections <= 2, LIMIT_MS, 'old connections to be closed');
  });

  test('reports that a version has expired, in an event or by its status, everything is listed again', async () => {
    for (const how of ['event', 'status'] as const) {
      server.model.goneAs = how;
      await watching();
      for (const watch of server.model.watches) watch.frozen = true;
      server.model.put('pods', pod({ node: 'a', ip: `10.0.2.${how.length}` }));
      server.model.compact();
      server.cut();
      await publishes(`a in 10.0.2.${how.length}:8701`, 'b cordoned 10.0.0.2:8701');
    }
  });

  test('repeats itself, sends invalid events, or ends with an error, nothing is lost', async () => {
    server.model.repeat();
    server.model.say('{"type":"ADDED","object":{"kind":"Pod"\n');
    await watching();
    server.model.error(500);
    await watching();
    server.model.say('{"type":"NEW","object":{}}\n');
    server.model.delete('pods', 'agent-b');
    await publishes('a in 10.0.0.1:8701');
  });
});

test('a silently dead connection is abandoned', async () => {
  twoNodes();
  discover({ timings: { idleMs: 500, requestMs: 500 } });
  await publishes(...BOTH);
  await watching();
  server.deaf = true;
  server.model.delete('pods', 'agent-b');
  const attempts = server.attempts;
  await until(() => server.attempts > attempts + 2, LIMIT_MS, 'new connections');
  expect(published()).toEqual(BOTH);
  server.deaf = false;
  await publishes('a in 10.0.0.1:8701');
});

test('a quiet watch that is dropped and resumed loses nothing', async () => {
  twoNodes();
  discover({ timings: { idleMs: 100 } });
  await publishes(...BOTH);
  const before = asked();
  await until(() => asked() > before + 4, LIMIT_MS, 'watches to be renewed');
  server.model.put('nodes', node('b'));
  await publishes('a in 10.0.0.1:8701', 'b in 10.0.0.2:8701');
  // Nothing was listed again for it.
  expect(server.model.asked.filter(({ query }) => query['watch'] === undefined)).toHaveLength(2);
});

test('without permission to read Nodes it relies on the pods, and uses the permission once granted', async () => {
  twoNodes();
  server.model.refuse = (collection) => (collection === 'nodes' ? { status: 403 } : null);
  discover();
  await publishes('a in 10.0.0.1:8701', 'b in 10.0.0.2:8701');
  server.model.put('pods', pod({ node: 'a', ip: '10.0.0.1', ready: false }));
  await publishes('a cordoned 10.0.0.1:8701', 'b in 10.0.0.2:8701');
  server.model.refuse = () => null;
  await publishes('a cordoned 10.0.0.1:8701', 'b cordoned 10.0.0.2:8701');
});

test('if configured so, it reads no Nodes', async () => {
  twoNodes();
  discover({ followNodes: false });
  await publishes('a in 10.0.0.1:8701', 'b in 10.0.0.2:8701');
  expect(server.model.asked.some(({ collection }) => collection === 'nodes')).toBe(false);
});

test('the API server may be reached over IPv6', async () => {
  await server[Symbol.asyncDispose]();
  server = await ApiServer.start({ host: '::1' });
  twoNodes();
  discover();
  await publishes(...BOTH);
});

test('it can be stopped at any time, and leaves no connection', async () => {
  twoNodes();
  discover();
  await watching();
  await discovery?.stop();
  await until(() => server.connections === 0, LIMIT_MS, 'no connection');
  server.deaf = true;
  discover();
  await until(() => server.connections > 0, LIMIT_MS, 'a connection');
  await discovery?.stop();
  await until(() => server.connections === 0, LIMIT_MS, 'no connection again');
});
