/**
 * Every link is cut at random bytes while commands stream: between client and gateway, gateway and agent, agent and
 * boxinit. Every byte is exact, every exit correct, and nothing runs twice.
 *
 * MILLIBOX_TEST_CUTS sets the total number, MILLIBOX_TEST_SEED repeats a choice of places.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Millibox, type Sandbox } from '../../src/sdk/index.ts';
import { amount } from '../helpers/config.ts';
import { CutProxy, type Cut } from '../helpers/cut-proxy.ts';
import { freePort } from '../helpers/ports.ts';
import { random } from '../helpers/random.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';
import { tapBoxinit } from '../helpers/tap.ts';
import {
  PATIENT_MS,
  blocking,
  count,
  echo,
  killed,
  limited,
  refused,
  script,
  terminal,
  type Load,
} from './cut-loads.ts';

const CUTS = amount('MILLIBOX_TEST_CUTS', 150);
const SEED = amount('MILLIBOX_TEST_SEED', Date.now() % 1_000_000_000);
const LIMIT_MS = 1_500_000;
/** All concurrently, each repeatedly. */
const LOADS: readonly Load[] = [echo, echo, count, count, blocking, script, refused, limited, killed, terminal];

let stack: TestStack;
let sandbox: Sandbox;
let proxies: { client: CutProxy; node: CutProxy; boxinit: CutProxy };

/** Each link is cut until it has had its third; none before the service is up. */
let cutting = false;
function planFor(link: keyof typeof proxies): () => Cut | null {
  const choice = random(SEED + link.length);
  return () => {
    if (!cutting || proxies[link].cuts >= CUTS / 3) return null;
    // Some during greetings, most during streams.
    const afterBytes = choice.next() < 0.2 ? choice.between(1, 3_000) : choice.between(3_000, 300_000);
    return { afterBytes, abrupt: choice.next() < 0.5 };
  };
}

beforeAll(async () => {
  const port = await freePort();
  const node = await CutProxy.listen({ target: { port, host: '127.0.0.1' }, plan: planFor('node') });
  stack = await startStack({
    pool: 1,
    agentPorts: [port],
    gatewayEnv: {
      MILLIBOX_NODES: `node-1=ws://127.0.0.1:${node.port}`,
      MILLIBOX_NODE_GRACE_MS: String(PATIENT_MS),
      MILLIBOX_LINK_PATIENCE_MS: String(PATIENT_MS),
      MILLIBOX_RESUME_MS: String(PATIENT_MS),
    },
  });
  const target = { port: Number(new URL(stack.url).port), host: '127.0.0.1' };
  const client = await CutProxy.listen({ target, plan: planFor('client') });
  sandbox = await stack.client.sandboxes.create({ memoryMb: 1024, timeoutMs: 3_600_000 });
  await sandbox.ready();
  proxies = { client, node, boxinit: await tapBoxinit(stack, planFor('boxinit')) };
});
afterAll(async () => {
  cutting = false;
  for (const proxy of Object.values(proxies ?? {})) await proxy[Symbol.asyncDispose]();
  await stack?.stop();
});

test(
  `${CUTS} cuts at random bytes cost no byte and no exit, and nothing runs twice`,
  { timeout: LIMIT_MS },
  async () => {
    const url = `http://127.0.0.1:${proxies.client.port}`;
    const { apiKey } = stack;
    await using client = new Millibox({ url, apiKey, resumeMs: PATIENT_MS, patienceMs: PATIENT_MS });
    const at = { sandbox: await client.sandboxes.get(sandbox.id), url, apiKey };
    const ran: string[] = [];
    const until = performance.now() + LIMIT_MS - 120_000;
    const wanted = (): boolean => Object.values(proxies).some(({ cuts }) => cuts < CUTS / 3);
    const again = async (load: Load, worker: number): Promise<void> => {
      const choice = random(SEED * 31 + worker);
      for (let i = 0; wanted(); i++) {
        if (performance.now() > until) throw new Error('not enough cuts in time');
        const name = `run-${worker}-${i}`;
        if (await load(at, name, choice)) ran.push(name);
      }
    };
    cutting = true;
    await reconnectAll();
    try {
      await Promise.all(LOADS.map(again));
    } catch (error) {
      throw new Error(`with MILLIBOX_TEST_SEED=${SEED}, after ${JSON.stringify(cutsSoFar())}: ${String(error)}`, {
        cause: error,
      });
    }
    cutting = false;
    const { stdout } = await sandbox.exec('cat /tmp/runs', { maxOutputBytes: 64_000_000 });
    expect(stdout.trimEnd().split('\n').toSorted()).toEqual(ran.toSorted());
    console.info(`cuts ${JSON.stringify(cutsSoFar())}, ${ran.length} commands, seed ${SEED}`);
  },
);

const cutsSoFar = (): Record<string, number> =>
  Object.fromEntries(Object.entries(proxies).map(([link, { cuts }]) => [link, cuts]));

/** Connections made before cutting began are closed once. */
async function reconnectAll(): Promise<void> {
  for (const proxy of Object.values(proxies)) proxy.hangUp();
  await stack.ready();
}
