/**
 * Many short commands, most of them failing, leave nothing behind in gateway, agent, boxinit and sandbox.
 * MILLIBOX_TEST_EXECS sets how many.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Sandbox } from '../../src/sdk/index.ts';
import { amount } from '../helpers/config.ts';
import { boxinitPid, descriptors, residentMb } from '../helpers/host.ts';
import { PROBED, probe, type Holdings } from '../helpers/probe.ts';
import { processes } from '../helpers/sandbox.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';

const EXECS = amount('MILLIBOX_TEST_EXECS', 1_500);
/** Until the heaps have grown to the size that such a load takes. */
const WARM_UP = Math.max(600, Math.ceil(EXECS / 4));
const AT_ONCE = 60;
const LIMIT_MS = 1_800_000;
/** How much more a part may hold at the end, for any number of commands: connections of this test, caches, pools. */
const SPARE = { heapMb: 2, buffersMb: 4, residentMb: 32, timers: 5, descriptors: 5 };
const SPARE_BOXINIT_MB = 1;
/** In addition, for each command. */
const SPARE_BYTES_EACH = 100;

let stack: TestStack;
let sandbox: Sandbox;
beforeAll(async () => {
  stack = await startStack({ pool: 1, agentEnv: PROBED, gatewayEnv: PROBED });
  sandbox = await stack.client.sandboxes.create({ timeoutMs: 3_600_000 });
});
afterAll(() => stack?.stop());

const KINDS: readonly (() => Promise<void>)[] = [
  async () => expect((await sandbox.exec(['true'])).exitCode).toBe(0),
  async () => expect(sandbox.exec(['/no/such']).result).rejects.toMatchObject({ code: 'exec_program_not_found' }),
  async () => expect((await sandbox.exec(['sleep', '600'], { timeoutMs: 50, killGraceMs: 0 })).timedOut).toBe(true),
];

/** A third of each kind. */
async function runMany(count: number): Promise<void> {
  for (let done = 0; done < count; done += AT_ONCE) {
    await Promise.all(Array.from({ length: AT_ONCE }, async (_, i) => await KINDS[i % KINDS.length]?.()));
  }
}

interface All {
  gateway: Holdings & { children: number };
  agent: Holdings & { children: number };
  boxinit: { residentMb: number; descriptors: number };
}

async function holdings(boxinit: number): Promise<All> {
  const of = async (pid: number): Promise<All['gateway']> => ({ ...(await probe(pid)), children: children(pid) });
  return {
    gateway: await of(stack.gatewayPid),
    agent: await of(stack.agentPids[0] as number),
    boxinit: { residentMb: residentMb(boxinit), descriptors: descriptors(boxinit) },
  };
}

function children(pid: number): number {
  return readdirSync(`/proc/${pid}/task`)
    .flatMap((task) => readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' '))
    .filter((child) => child !== '').length;
}

test(
  `after ${EXECS} commands, a third not starting and a third timing out, all is flat`,
  { timeout: LIMIT_MS },
  async () => {
    const boxinit = await boxinitPid(sandbox);
    await runMany(WARM_UP);
    const before = await holdings(boxinit);
    await runMany(EXECS);
    // Only boxinit is left, and the process that looks.
    await expect.poll(async () => (await processes(sandbox)).length, { timeout: 60_000 }).toBeLessThanOrEqual(2);
    await expect.poll(() => sandbox.jobs.list(), { timeout: 60_000 }).toEqual([]);
    const after = await holdings(boxinit);
    console.info(`${EXECS} commands: before ${JSON.stringify(before)}, after ${JSON.stringify(after)}`);

    const growthMb = (EXECS * SPARE_BYTES_EACH) / (1024 * 1024);
    for (const part of ['gateway', 'agent'] as const) {
      const [was, is] = [before[part], after[part]];
      expect(is.heapMb, `heap of the ${part}`).toBeLessThan(was.heapMb + SPARE.heapMb + growthMb);
      expect(is.buffersMb, `buffers of the ${part}`).toBeLessThan(was.buffersMb + SPARE.buffersMb);
      expect(is.residentMb, `memory of the ${part}`).toBeLessThan(was.residentMb + SPARE.residentMb + growthMb);
      expect(is.timers, `timers of the ${part}`).toBeLessThan(was.timers + SPARE.timers);
      expect(is.descriptors, `descriptors of the ${part}`).toBeLessThan(was.descriptors + SPARE.descriptors);
      expect(is.children, `processes of the ${part}`).toBeLessThanOrEqual(was.children);
    }
    expect(after.boxinit.descriptors, 'descriptors of boxinit').toBeLessThanOrEqual(before.boxinit.descriptors);
    expect(after.boxinit.residentMb, 'memory of boxinit').toBeLessThan(before.boxinit.residentMb + SPARE_BOXINIT_MB);
  },
);

test('the first bytes of a connection are never lost: a hundred clients send a command and its input at once', async () => {
  const clients = Array.from({ length: 100 }, () => stack.newClient());
  try {
    const results = await Promise.all(
      clients.map(async (client, i) => {
        const same = await client.sandboxes.get(sandbox.id);
        return await same.exec('cat', { stdin: `input ${i} ${'x'.repeat(5_000)}` });
      }),
    );
    results.forEach(({ stdout }, i) => expect(stdout).toBe(`input ${i} ${'x'.repeat(5_000)}`));
  } finally {
    await Promise.all(clients.map((client) => client.close()));
  }
});
