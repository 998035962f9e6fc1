/** Many short commands, many of them failing, leave nothing behind in gateway and agent. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Sandbox } from '../../src/sdk/index.ts';
import { descriptors, residentMb } from '../helpers/host.ts';
import { processes } from '../helpers/sandbox.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';

const ROUNDS = 40;
const AT_ONCE = 50;
/** What a process may hold more of after a few thousand commands: sockets of this test, pools of buffers. */
const SPARE_DESCRIPTORS = 40;
const SPARE_MB = 100;

let stack: TestStack;
let sandbox: Sandbox;
beforeAll(async () => {
  stack = await startStack({ pool: 1 });
  sandbox = await stack.client.sandboxes.create({ timeoutMs: 3_600_000 });
});
afterAll(() => stack?.stop());

async function someOfEach(): Promise<void> {
  const kinds: (() => Promise<void>)[] = [
    async () => expect((await sandbox.exec(['true'])).exitCode).toBe(0),
    async () => expect(sandbox.exec(['/no/such']).result).rejects.toMatchObject({ code: 'exec_program_not_found' }),
    async () => expect((await sandbox.exec(['sleep', '600'], { timeoutMs: 50, killGraceMs: 0 })).timedOut).toBe(true),
  ];
  await Promise.all(Array.from({ length: AT_ONCE }, async (_, i) => await kinds[i % kinds.length]?.()));
}

test(
  'after thousands of commands, a third not starting and a third timing out, all is flat',
  { timeout: 900_000 },
  async () => {
    const pids = [stack.gatewayPid, stack.agentPids[0] as number];
    for (let i = 0; i < 5; i++) await someOfEach();
    const before = pids.map((pid) => ({ fds: descriptors(pid), mb: residentMb(pid) }));
    for (let i = 0; i < ROUNDS; i++) await someOfEach();
    const after = pids.map((pid) => ({ fds: descriptors(pid), mb: residentMb(pid) }));
    after.forEach(({ fds, mb }, i) => {
      expect(fds).toBeLessThan((before[i]?.fds ?? 0) + SPARE_DESCRIPTORS);
      expect(mb).toBeLessThan((before[i]?.mb ?? 0) + SPARE_MB);
    });
    // boxinit alone is left, and whoever looks.
    await expect.poll(async () => (await processes(sandbox)).length, { timeout: 60_000 }).toBeLessThanOrEqual(2);
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
