/** Background commands: listed, polled, read by window, ended. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Sandbox } from '../../src/sdk/index.ts';
import { cli } from '../helpers/cli.ts';
import { running } from '../helpers/sandbox.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';

const LIMIT_MS = 120_000;
let stack: TestStack;
let sandbox: Sandbox;
beforeAll(async () => {
  stack = await startStack({ pool: 1 });
  sandbox = await stack.client.sandboxes.create({ memoryMb: 1024, timeoutMs: 3_600_000 });
});
afterAll(() => stack?.stop());

test('a job answers at once, is listed while it runs, and tells its exit when it has ended', async () => {
  const job = await sandbox.jobs.start('echo begun; until [ -e /tmp/go ]; do sleep 0.05; done; echo end >&2; exit 4');
  expect(await job.state()).toMatchObject({ state: 'running', background: true, exit: null });
  expect((await sandbox.jobs.list()).map(({ execId }) => execId)).toContain(job.id);
  await sandbox.exec('touch /tmp/go', { check: true });
  const { exit } = await job.wait({ deadlineMs: LIMIT_MS });
  expect(exit).toMatchObject({ exitCode: 4, timedOut: false });
  expect((await job.output('stdout')).toString()).toBe('begun\n');
  expect((await job.output('stderr')).toString()).toBe('end\n');
});

test('whether a job is done does not depend on how much it wrote, and its tail can be read', async () => {
  const job = await sandbox.jobs.start(`head -c 100000000 /dev/zero | tr '\\0' a; printf tail; echo err >&2; exit 4`);
  const { exit, stdoutBytes } = await job.wait({ deadlineMs: 600_000 });
  expect(exit.exitCode).toBe(4);
  expect(stdoutBytes).toBe(100_000_004);
  expect((await job.output('stdout', { offset: -4 })).toString()).toBe('tail');
  expect((await job.output('stdout', { offset: -8, length: 4 })).toString()).toBe('aaaa');
  expect((await job.output('stdout', { offset: 100_000_004 })).length).toBe(0);
  expect((await job.output('stderr')).toString()).toBe('err\n');
});

test('a hundred jobs are polled in one call', async () => {
  const jobs = await Promise.all(Array.from({ length: 100 }, (_, i) => sandbox.jobs.start(`exit ${i}`)));
  const ids = jobs.map(({ id }) => id);
  await expect
    .poll(async () => (await sandbox.jobs.list({ ids })).filter(({ exit }) => exit !== null).length, {
      timeout: LIMIT_MS,
    })
    .toBe(100);
  const states = new Map((await sandbox.jobs.list({ ids })).map((each) => [each.execId, each.exit?.exitCode]));
  expect(ids.map((id) => states.get(id))).toEqual(Array.from({ length: 100 }, (_, i) => i));
});

test('a job without a timeout outlives every default, and is killed with all it started', async () => {
  const job = await sandbox.jobs.start('sleep 64209 & sleep 64209');
  const both = async (): Promise<number> =>
    (await running(sandbox, 'sleep 64209')).filter((command) => command === 'sleep 64209').length;
  await expect.poll(both, { timeout: LIMIT_MS }).toBe(2);
  await job.kill();
  expect((await job.wait({ deadlineMs: LIMIT_MS })).exit.exitCode).toBeGreaterThanOrEqual(128);
  await expect.poll(() => running(sandbox, 'sleep 64209'), { timeout: LIMIT_MS }).toEqual([]);
});

test('a job survives the kill of the agent', async () => {
  const job = await sandbox.jobs.start('echo one; until [ -e /tmp/go2 ]; do sleep 0.05; done; echo two; exit 3');
  await stack.killAgent();
  stack.restartAgent();
  await stack.ready();
  await sandbox.exec('touch /tmp/go2', { check: true });
  expect((await job.wait({ deadlineMs: LIMIT_MS })).exit.exitCode).toBe(3);
  expect((await job.output('stdout')).toString()).toBe('one\ntwo\n');
});

test('an unknown job is exec_not_found', async () => {
  await expect(sandbox.jobs.get('exe-00000000000000000000').state()).rejects.toMatchObject({ code: 'exec_not_found' });
});

test('the CLI starts, lists, reads and kills jobs', async () => {
  const started = await cli(stack, ['exec', '-b', sandbox.id, '--', 'sh', '-c', 'echo hello; sleep 64210']);
  const id = started.stdout.toString().trim();
  expect(started.code).toBe(0);
  expect((await cli(stack, ['jobs', sandbox.id])).stdout.toString()).toContain(id);
  await expect
    .poll(async () => (await cli(stack, ['logs', sandbox.id, id])).stdout.toString(), { timeout: LIMIT_MS })
    .toBe('hello\n');
  expect((await cli(stack, ['kill', sandbox.id, id, '-s', 'KILL'])).code).toBe(0);
  await expect.poll(() => running(sandbox, 'sleep 64210'), { timeout: LIMIT_MS }).toEqual([]);
});
