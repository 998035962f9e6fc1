/** One client's large requests and answers do not cut the link of a node, which all of its sandboxes share. */
import { request } from 'undici';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startStack, type TestStack } from '../helpers/stack.ts';

let stack: TestStack;
beforeAll(async () => {
  // With a heartbeat in every moment in which much waits.
  const often = { MILLIBOX_HEARTBEAT_MS: '50' };
  stack = await startStack({ pool: 2, gatewayEnv: often, agentEnv: often });
});
afterAll(() => stack?.stop());

/** Links to nodes that broke. */
async function losses(): Promise<number> {
  const answer = await request(`${stack.url}/metrics`);
  return Number(/^millibox_link_losses (\d+)$/m.exec(await answer.body.text())?.[1]);
}

/** Uses a sandbox of its own while `work` is done in another, and expects that it notices nothing. */
async function undisturbed(work: (busy: Awaited<ReturnType<typeof create>>) => Promise<void>): Promise<void> {
  const [busy, other] = await Promise.all([create(), create()]);
  const done = new AbortController();
  const kinds = new Set<string>();
  const watching = (async () => {
    for await (const { kind } of other.files.watch('/tmp', { signal: done.signal })) kinds.add(kind);
  })();
  const watched = expect(watching).rejects.toThrow('done');
  const before = await losses();
  const working = work(busy).finally(() => done.abort(new Error('done')));
  for (let i = 0; !done.signal.aborted; i++) await other.files.write(`/tmp/${i}`, 'x');
  await Promise.all([working, watched]);
  expect(kinds).not.toContain('overflow');
  expect(kinds.size).toBeGreaterThan(0);
  expect(await losses()).toBe(before);
  await Promise.all([busy.delete(), other.delete()]);
}

const create = () => stack.client.sandboxes.create({ memoryMb: 512 });

test('hundreds of commands of a hundred kilobytes each all run', { timeout: 120_000 }, () =>
  undisturbed(async (busy) => {
    const text = 'x'.repeat(120 * 1024);
    const results = await Promise.all(Array.from({ length: 500 }, () => busy.exec(['true'], { env: { TEXT: text } })));
    expect(results.filter(({ exitCode }) => exitCode !== 0)).toEqual([]);
  }),
);

test('hundreds of answers of hundreds of kilobytes each all arrive', { timeout: 120_000 }, () =>
  undisturbed(async (busy) => {
    const names = `for i in $(seq 1000); do : > /srv/$(printf %0240d $i); done`;
    expect((await busy.exec(names)).exitCode).toBe(0);
    const lists = await Promise.all(Array.from({ length: 200 }, () => busy.files.list('/srv')));
    expect(new Set(lists.map(({ length }) => length))).toEqual(new Set([1_000]));
  }),
);
