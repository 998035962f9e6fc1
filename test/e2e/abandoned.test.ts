/** Clients that abandon commands, concurrent readers, and a process that tries to outlive its command. */
import { readFileSync, readdirSync } from 'node:fs';
import { request } from 'undici';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Sandbox } from '../../src/sdk/index.ts';
import { running } from '../helpers/sandbox.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';
import { until } from '../helpers/until.ts';

const LIMIT_MS = 60_000;

let stack: TestStack;
let sandbox: Sandbox;
beforeAll(async () => {
  stack = await startStack({ gateways: 2 });
  sandbox = await stack.client.sandboxes.create();
});
afterAll(() => stack?.stop());

const gone = (words: string): Promise<void> =>
  until(async () => (await running(sandbox, words)).length === 0, LIMIT_MS, `the end of ${words}`);

test('a command whose loop is left, in whatever way, ends with everything it started', async () => {
  const boom = new Error('boom');
  const thrown = async (): Promise<void> => {
    for await (const _ of sandbox.exec('echo here; sleep 3601')) throw boom;
  };
  await expect(thrown()).rejects.toBe(boom);
  for await (const _ of sandbox.exec('echo here; sleep 3601')) break;
  // One that waits for output, and one that was never read.
  for (const asked of [true, false]) {
    const handle = sandbox.exec('sleep 3601');
    await handle.started;
    const reader = handle[Symbol.asyncIterator]();
    const next = asked ? reader.next() : undefined;
    await reader.return(undefined);
    expect((await next)?.done).toBe(asked ? true : undefined);
  }
  await gone('sleep 3601');
});

test('a command that is aborted at any moment of its start leaves no process', async () => {
  await Promise.all(
    Array.from({ length: 30 }, async (_, i) => {
      const controller = new AbortController();
      const { result } = sandbox.exec('sleep 3602 & sleep 3602', { signal: controller.signal });
      setTimeout(() => controller.abort(), i / 4);
      await expect(result).rejects.toThrow('abort');
    }),
  );
  await gone('sleep 3602');
});

test('a create that is aborted at any moment leaves no sandbox', { timeout: LIMIT_MS }, async () => {
  const labels = { run: 'aborted' };
  const client = stack.newClient();
  // It is connected.
  await client.sandboxes.get(sandbox.id);
  let aborted = 0;
  await Promise.all(
    Array.from({ length: 30 }, async (_, i) => {
      const abort = new AbortController();
      setTimeout(() => abort.abort(), i);
      const { signal } = abort;
      const asked =
        i % 3 > 0 ? [client.sandboxes.create({ labels, signal })] : client.sandboxes.createMany(2, { labels, signal });
      for (const answer of await Promise.allSettled(asked)) {
        if (answer.status === 'fulfilled') await answer.value.delete();
        else aborted += 1;
      }
    }),
  );
  expect(aborted).toBeGreaterThan(0);
  await client.close();
  // What was asked for before it has been made by then.
  await using later = stack.client.sandboxes.create();
  await later.ready();
  for await (const left of stack.client.sandboxes.list({ labels })) expect(left.info.status).toBe('TERMINATED');
});

test('concurrent readers of an ended command, over two gateways, each get all of its output', async () => {
  const headers = { authorization: `Bearer ${stack.apiKey}` };
  const path = `/v1/sandboxes/${sandbox.id}/exec`;
  const command = 'head -c 300000 /dev/zero';
  const made = await request(`${stack.url}${path}`, {
    method: 'POST',
    headers: { ...headers, 'content-type': 'application/json', 'idempotency-key': 'read-by-many' },
    body: JSON.stringify({ command }),
  });
  const { execId } = (await made.body.json()) as { execId: string };
  const sizes = Array.from({ length: 12 }, async (_, i) => {
    const url = `${stack.urls[i % 2]}${path}s/${execId}/output?channel=stdout`;
    const { statusCode, body } = await request(url, { headers });
    return [statusCode, (await body.arrayBuffer()).byteLength];
  });
  expect(await Promise.all(sizes)).toEqual(Array(12).fill([200, 300_000]));
});

/** Leaves its session, its parents and its environment, and removes the tag by which kills find it. */
const EVADE = `
import os, resource
first = os.fork()
if first == 0:
    os.setsid()
    if os.fork() > 0:
        os._exit(0)
    resource.setrlimit(10, (5, 5))
    os.execve("/bin/sleep", ["sleep", "3604"], {})
os.waitpid(first, 0)
print("up", flush=True)
os.execv("/bin/sleep", ["sleep", "3603"])
`;

test('a process that removes its tag survives a kill of its command, and ends with its sandbox', async () => {
  const own = await stack.client.sandboxes.create();
  const handle = own.exec(['python3', '-c', EVADE]);
  const reader = handle[Symbol.asyncIterator]();
  expect((await reader.next()).value).toMatchObject({ type: 'stdout', data: 'up\n' });
  await until(() => onHost('sleep 3604') === 1, LIMIT_MS, 'the evader to run');
  handle.kill();
  expect((await handle.exit).signal).toBe('TERM');
  expect(await running(own, 'sleep 36')).toEqual(['sleep 3604']);
  await own.delete();
  await until(() => onHost('sleep 3604') === 0, LIMIT_MS, 'the end of the evader');
});

/** Processes of the machine, sandboxes included, whose command line begins with this. */
function onHost(words: string): number {
  return readdirSync('/proc').filter((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      return readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ').startsWith(words);
    } catch {
      return false;
    }
  }).length;
}
