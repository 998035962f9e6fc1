/** Many concurrent creates against a small pool: all succeed, in order, without polling. */
import { request } from 'undici';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startStack, type TestStack } from '../helpers/stack.ts';

const CREATES = 200;
const POOL = 20;

let stack: TestStack;
beforeAll(async () => {
  stack = await startStack({ pool: POOL });
  await stack.warm(POOL);
});
afterAll(() => stack?.stop());

/** How many HTTP calls the gateway has answered. */
async function httpCalls(): Promise<number> {
  const answer = await request(`${stack.url}/metrics`);
  const counts = [...(await answer.body.text()).matchAll(/^millibox_http_seconds_count\{.*\} (\d+)$/gm)];
  return counts.reduce((sum, [, count]) => sum + Number(count), 0);
}

test(
  `${CREATES} creates at once against a pool of ${POOL}: every one succeeds and its first command answers`,
  { timeout: 900_000 },
  async () => {
    const before = await httpCalls();
    const label = { burst: 'all' };
    const outcomes = await Promise.allSettled(
      Array.from({ length: CREATES }, async (_, i) => {
        const sandbox = stack.client.sandboxes.create({ memoryMb: 64, labels: label, timeoutMs: 3_600_000 });
        const { stdout } = await sandbox.exec(`echo ${i}`, { timeoutMs: 600_000 });
        return { id: (await sandbox.created()).id, stdout };
      }),
    );
    const failures = outcomes.filter((outcome) => outcome.status === 'rejected');
    expect(failures.map(({ reason }) => String(reason))).toEqual([]);
    const done = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
    expect(done.map(({ stdout }) => stdout)).toEqual(Array.from({ length: CREATES }, (_, i) => `${i}\n`));
    expect(new Set(done.map(({ id }) => id)).size).toBe(CREATES);
    // One create each; commands use the WebSocket. Polling would show up here.
    expect((await httpCalls()) - before).toBeLessThan(CREATES + 20);
    expect(await stack.client.sandboxes.deleteByLabel(label, { deadlineMs: 600_000 })).toBe(CREATES);
  },
);
