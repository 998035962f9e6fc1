/** A distant node: packets to and from it are delayed, and none is lost. */
import { createHash } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Sandbox } from '../../src/sdk/index.ts';
import { inCi } from '../helpers/config.ts';
import { HostCluster } from '../hosts/cluster.ts';
import { lackingForHosts } from '../hosts/network.ts';
import { lackingForWires } from '../hosts/wire.ts';

const LIMIT_MS = 300_000;
const DEAD_MS = 2_000;
const HEARTBEAT = { MILLIBOX_HEARTBEAT_MS: '300', MILLIBOX_LINK_DEAD_MS: String(DEAD_MS) };
const SLOW = 'agent-1';
/** Each way. */
const DELAY_MS = 150;
const JITTER_MS = 40;
/** The least that a round trip takes. */
const ROUND_TRIP_MS = 2 * (DELAY_MS - JITTER_MS);

const missing = (await lackingForHosts()) || lackingForWires();
if (missing !== '' && inCi()) throw new Error(`hosts cannot be made: ${missing}`);

describe.skipIf(missing !== '')(`a slow node${missing === '' ? '' : ` (skipped: ${missing})`}`, () => {
  let cluster: HostCluster;
  beforeAll(async () => {
    cluster = await HostCluster.start({
      agents: 2,
      gateways: 1,
      agentEnv: HEARTBEAT,
      gatewayEnv: { ...HEARTBEAT, MILLIBOX_NODE_GRACE_MS: '60000', MILLIBOX_RESUME_MS: '60000' },
    });
  }, LIMIT_MS);
  afterEach(async () => {
    await cluster?.network.heal();
    for (const node of ['agent-1', 'agent-2']) await cluster?.becomes(node, 'ready');
  }, LIMIT_MS);
  afterAll(() => cluster?.[Symbol.asyncDispose](), LIMIT_MS);

  async function some(count: number): Promise<{ sandbox: Sandbox; node: string | null }[]> {
    const made = Array.from({ length: count }, () => cluster.client().sandboxes.create({ memoryMb: 64 }));
    return await Promise.all(
      made.map(async (each) => {
        const sandbox = await each;
        return { sandbox, node: (await sandbox.ready()).node };
      }),
    );
  }

  async function onTheSlowOne(): Promise<Sandbox> {
    const found = (await some(4)).find(({ node }) => node === SLOW);
    if (found === undefined) throw new Error('nothing is placed on the slow one');
    return found.sandbox;
  }

  /** The states in which the gateway saw the slow node during `work`. */
  async function statesDuring(work: () => Promise<void>): Promise<Set<string | undefined>> {
    const seen = new Set<string | undefined>();
    const working = work();
    let done = false;
    const watching = (async () => {
      while (!done) {
        seen.add(await cluster.state(SLOW));
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    })();
    await working.finally(() => (done = true));
    await watching;
    return seen;
  }

  test('answers late but correctly, runs each command once, and stays connected', { timeout: LIMIT_MS }, async () => {
    const sandbox = await onTheSlowOne();
    await cluster.network.delay(SLOW, DELAY_MS, JITTER_MS);
    const states = await statesDuring(async () => {
      const startedAt = performance.now();
      expect((await sandbox.exec('cat', { stdin: 'said' })).stdout).toBe('said');
      expect(performance.now() - startedAt).toBeGreaterThan(ROUND_TRIP_MS);

      const told = Array.from({ length: 20 }, (_, i) =>
        sandbox.exec(`echo ${i + 1} >> /tmp/told; echo ${i + 1}; exit ${i}`),
      );
      for (const [i, { stdout, exitCode }] of (await Promise.all(told)).entries()) {
        expect({ stdout, exitCode }).toEqual({ stdout: `${i + 1}\n`, exitCode: i });
      }
      expect((await sandbox.exec('sort -n /tmp/told')).stdout).toBe(upTo(20));
      // More than fits in flight at once, so credit is returned over the wire.
      const numbers = (await sandbox.exec('seq 1 100000')).stdout;
      expect(digest(numbers)).toBe(digest(upTo(100_000)));
    });
    expect([...states]).toEqual(['ready']);
  });

  test('gets sandboxes like any other, and commands on both work correctly', { timeout: LIMIT_MS }, async () => {
    await cluster.network.delay(SLOW, DELAY_MS, JITTER_MS);
    const made = await some(8);
    expect(new Set(made.map(({ node }) => node))).toEqual(new Set(['agent-1', 'agent-2']));
    const near = made.filter(({ node }) => node !== SLOW);
    const far = made.filter(({ node }) => node === SLOW);
    const last = Promise.all(far.map(({ sandbox }) => sandbox.exec('read word; echo far $word', { stdin: 'away' })));
    for (const { sandbox } of near) expect((await sandbox.exec('echo near')).stdout).toBe('near\n');
    for (const { stdout } of await last) expect(stdout).toBe('far away\n');
    await Promise.all(made.map(({ sandbox }) => sandbox.delete()));
  });

  test(
    'whose packets are later than the heartbeat allows is away, and back with its sandboxes',
    { timeout: LIMIT_MS },
    async () => {
      const sandbox = await onTheSlowOne();
      const running = sandbox.exec('for i in 1 2 3 4; do echo $i; sleep 0.5; done').result;
      running.catch(() => undefined);
      await cluster.network.delay(SLOW, 3 * DEAD_MS);
      await cluster.becomes(SLOW, 'away');
      expect(await cluster.state('agent-2')).toBe('ready');
      await cluster.network.heal();
      expect(await running).toMatchObject({ stdout: upTo(4), exitCode: 0 });
      expect((await sandbox.exec('echo on')).stdout).toBe('on\n');
      expect((await sandbox.refresh()).status).toBe('RUNNING');
    },
  );
});

/** Lines. */
const upTo = (count: number): string => Array.from({ length: count }, (_, i) => `${i + 1}\n`).join('');
const digest = (text: string): string => createHash('sha256').update(text).digest('hex');
