/** Agents and gateways on separate hosts, and what happens to sandboxes when the network between them fails. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { inCi } from '../helpers/config.ts';
import { until } from '../helpers/until.ts';
import { HostCluster } from '../hosts/cluster.ts';
import { lackingForHosts } from '../hosts/network.ts';

const LIMIT_MS = 300_000;
const HOUR_MS = 3_600_000;
/** Longer than a short cut takes on a busy machine. */
const GRACE_MS = 20_000;
const HEARTBEAT = { MILLIBOX_HEARTBEAT_MS: '300', MILLIBOX_LINK_DEAD_MS: '2000' };

const missing = await lackingForHosts();
if (missing !== '' && inCi()) throw new Error(`hosts cannot be made: ${missing}`);

describe.skipIf(missing !== '')(`two agents and two gateways${missing === '' ? '' : ` (skipped: ${missing})`}`, () => {
  let cluster: HostCluster;
  beforeAll(async () => {
    cluster = await HostCluster.start({
      agents: 2,
      gateways: 2,
      agentEnv: HEARTBEAT,
      gatewayEnv: { ...HEARTBEAT, MILLIBOX_NODE_GRACE_MS: String(GRACE_MS), MILLIBOX_RESUME_MS: '60000' },
    });
  }, LIMIT_MS);
  afterEach(async () => {
    await cluster?.network.heal();
    for (const gateway of [1, 2]) {
      for (const node of ['agent-1', 'agent-2']) await cluster?.becomes(node, 'ready', gateway);
    }
  }, LIMIT_MS);
  afterAll(() => cluster?.[Symbol.asyncDispose](), LIMIT_MS);

  /** Creates a running sandbox, and returns its node. */
  async function aSandbox(more: { timeoutMs?: number } = {}): Promise<{ id: string; node: string }> {
    const made = await cluster.client().sandboxes.create({ memoryMb: 64, ...more });
    const { node } = await made.ready();
    if (node === null) throw new Error('it runs nowhere');
    return { id: made.id, node };
  }
  const sandbox = (id: string, gateway = 1) => cluster.client(gateway).sandboxes.get(id);
  /** Prints numbers for four seconds. */
  const COUNT = 'for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.5; done';
  const COUNTED = '1\n2\n3\n4\n5\n6\n7\n8\n';

  test('a node cut off for less than the grace period loses nothing', { timeout: LIMIT_MS }, async () => {
    const { id, node } = await aSandbox();
    const running = (await sandbox(id)).exec(COUNT).result;
    running.catch(() => undefined);
    await cluster.network.cut(node);
    await Promise.all([cluster.becomes(node, 'away', 1), cluster.becomes(node, 'away', 2)]);
    await cluster.network.heal();
    expect(await running).toMatchObject({ stdout: COUNTED, exitCode: 0 });
    for (const gateway of [1, 2]) expect((await (await sandbox(id, gateway)).exec('echo on')).stdout).toBe('on\n');
  });

  test.each(['cutFrom', 'cutTo'] as const)(
    'a cut of one direction only is noticed (%s)',
    { timeout: LIMIT_MS },
    async (cut) => {
      const { id, node } = await aSandbox();
      await cluster.network[cut](node);
      await cluster.becomes(node, 'away');
      await cluster.network.heal();
      await cluster.becomes(node, 'ready');
      expect((await (await sandbox(id)).exec('echo on')).stdout).toBe('on\n');
    },
  );

  test('a node that one gateway cannot reach serves through the other', { timeout: LIMIT_MS }, async () => {
    const { id, node } = await aSandbox();
    await (await sandbox(id, 2)).exec('true');
    await cluster.network.cut(node, 'gateway-1');
    await cluster.becomes(node, 'away', 1);
    expect((await (await sandbox(id, 2)).exec('echo by the other')).stdout).toBe('by the other\n');
    expect(await cluster.state(node, 2)).toBe('ready');
  });

  test(
    'an agent that is killed behind a lossy network is there again with its sandboxes',
    { timeout: LIMIT_MS },
    async () => {
      const { id, node } = await aSandbox();
      await cluster.network.lose(node, 10);
      const running = (await sandbox(id)).exec(COUNT).result;
      running.catch(() => undefined);
      await cluster.kill(node);
      await cluster.becomes(node, 'away');
      cluster.restart(node);
      expect(await running).toMatchObject({ stdout: COUNTED, exitCode: 0 });
    },
  );

  test("stepping the gateways' wall clocks, forwards and back, ends nothing", { timeout: LIMIT_MS }, async () => {
    const { id, node } = await aSandbox();
    for (const offsetMs of [3 * HOUR_MS, -3 * HOUR_MS, 0]) {
      for (const name of ['gateway-1', 'gateway-2']) cluster.stepClock(name, offsetMs);
      expect((await (await sandbox(id)).exec('sleep 0.3; echo on')).stdout).toBe('on\n');
    }
    expect(await cluster.state(node)).toBe('ready');
  });

  test("clocks that diverge during a sandbox's lifetime end nothing", { timeout: LIMIT_MS }, async () => {
    const { id, node } = await aSandbox({ timeoutMs: 12 * HOUR_MS });
    // Its time limit is measured by a clock that is not stepped.
    const running = (await sandbox(id)).exec('until [ -e /tmp/go ]; do sleep 0.1; done; echo gone', {
      timeoutMs: LIMIT_MS,
    });
    await running.started;
    try {
      for (const ahead of [3 * HOUR_MS, -3 * HOUR_MS]) {
        for (const name of ['agent-1', 'agent-2']) cluster.stepClock(name, ahead);
        for (const name of ['gateway-1', 'gateway-2']) cluster.stepClock(name, -ahead);
        const { id: made } = await aSandbox({ timeoutMs: 12 * HOUR_MS });
        for (const each of [id, made]) expect((await (await sandbox(each)).exec('echo on')).stdout).toBe('on\n');
        // What the agent recorded by the old clock is read by the new one.
        await cluster.kill(node);
        await cluster.becomes(node, 'away');
        cluster.restart(node);
        await cluster.becomes(node, 'ready');
      }
      await (await sandbox(id)).exec('touch /tmp/go');
      expect(await running.result).toMatchObject({ stdout: 'gone\n', exitCode: 0 });
    } finally {
      for (const name of ['agent-1', 'agent-2', 'gateway-1', 'gateway-2']) cluster.stepClock(name, 0);
    }
    expect((await (await sandbox(id)).exec('echo on')).stdout).toBe('on\n');
  });

  test("a lifetime is as long as requested, whatever the nodes' clocks say", { timeout: LIMIT_MS }, async () => {
    const agents = ['agent-1', 'agent-2'];
    try {
      for (const offsetMs of [3 * HOUR_MS, -3 * HOUR_MS]) {
        for (const name of agents) cluster.stepClock(name, offsetMs);
        const { id } = await aSandbox({ timeoutMs: HOUR_MS });
        const brief = await cluster.client().sandboxes.create({ memoryMb: 64, timeoutMs: 2_000 });
        await until(async () => (await brief.refresh()).status === 'TIMEOUT', LIMIT_MS, 'its life to be over');
        expect((await (await sandbox(id)).exec('echo on')).stdout).toBe('on\n');
      }
    } finally {
      for (const name of agents) cluster.stepClock(name, 0);
    }
  });

  test(
    'a node that is cut off for longer is lost, and what ran there ends with an error that says so',
    { timeout: LIMIT_MS },
    async () => {
      const { id, node } = await aSandbox();
      const running = (await sandbox(id)).exec('sleep 600').result;
      running.catch(() => undefined);
      await cluster.network.cut(node);
      for (const gateway of [1, 2]) {
        await cluster.becomes(node, 'lost', gateway);
        await expect
          .poll(async () => (await (await sandbox(id, gateway)).refresh()).reason, { timeout: 60_000 })
          .toBe('node_lost');
      }
      await expect(running).rejects.toMatchObject({ name: 'MilliboxError' });
      const next = await cluster.client().sandboxes.create({ memoryMb: 64 });
      expect((await next.ready()).node).not.toBe(node);
    },
  );
});
