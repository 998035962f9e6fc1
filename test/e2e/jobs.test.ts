/** Background commands: listed, polled, read by window, followed, ended. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Job, Sandbox } from '../../src/sdk/index.ts';
import { cli } from '../helpers/cli.ts';
import { running } from '../helpers/sandbox.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';
import { until } from '../helpers/until.ts';

const LIMIT_MS = 120_000;
let stack: TestStack;
let sandbox: Sandbox;
beforeAll(async () => {
  stack = await startStack({ pool: 1 });
  sandbox = await stack.client.sandboxes.create({ memoryMb: 1024, timeoutMs: 3_600_000 });
});
afterAll(() => stack?.stop());

test('a job answers at once, is listed while it runs, and reports its exit once it has ended', async () => {
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
  // More than the cap of 64 MiB: the oldest output is gone, and readers are told how much.
  const { stdoutFrom = 0 } = await job.state();
  expect(100_000_004 - stdoutFrom).toBeLessThanOrEqual(64 * 1024 * 1024);
  await expect(job.output('stdout', { offset: 10, length: 10 })).rejects.toMatchObject({
    code: 'output_lost',
    details: { from: 10, to: stdoutFrom },
  });
});

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** What `seq 1 LINES` prints. */
function numbers(lines: number): Buffer {
  let text = '';
  for (let i = 1; i <= lines; i++) text += `${i}\n`;
  return Buffer.from(text);
}

async function wholeLog(job: Job): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const event of job.read('stdout')) {
    if (event.type === 'output_lost') throw new Error(`bytes ${event.from} to ${event.to} were lost`);
    pieces.push(event.data);
  }
  return Buffer.concat(pieces);
}

test('a log of 50 MB is read in windows, byte for byte, by several readers at once', async () => {
  const lines = 6_300_000;
  const job = await sandbox.jobs.start(['seq', '1', String(lines)]);
  const { stdoutBytes } = await job.wait({ deadlineMs: 600_000 });
  const expected = numbers(lines);
  expect(stdoutBytes).toBe(expected.length);
  expect(stdoutBytes).toBeGreaterThan(48_000_000);
  const wholes = await Promise.all([wholeLog(job), wholeLog(job)]);
  expect(wholes.map(sha256)).toEqual([sha256(expected), sha256(expected)]);
  const windows = [
    [0, 10],
    [20_000_001, 1],
    [31_234_567, 3_000_000],
    [-1_000, 100],
    [stdoutBytes - 5, 1_000],
  ] as const;
  for (const [offset, length] of windows) {
    const from = offset < 0 ? stdoutBytes + offset : offset;
    const window = await job.output('stdout', { offset, length });
    expect(window.equals(expected.subarray(from, from + length)), `${offset}+${length}`).toBe(true);
  }
});

test('readers that read nothing, or never come, delay no job', async () => {
  const job = await sandbox.jobs.start(`head -c 20000000 /dev/zero; echo end >&2`);
  const stuck = Array.from({ length: 3 }, () => sandbox.attach(job.id));
  await Promise.all(stuck.map(({ started }) => started));
  expect(await job.wait({ deadlineMs: LIMIT_MS })).toMatchObject({ stdoutBytes: 20_000_000, exit: { exitCode: 0 } });
  await Promise.all(stuck.map((handle) => handle.detach()));
  for (const handle of stuck) await expect(handle.result).rejects.toMatchObject({ code: 'cancelled' });
});

test('kill -9 of the agent in the middle of a log loses and duplicates nothing, for readers and followers', async () => {
  const lines = 20_000;
  const job = await sandbox.jobs.start([
    'python3',
    '-u',
    '-c',
    `import time\nfor i in range(1, ${lines} + 1):\n print(i)\n if i % 100 == 0: time.sleep(0.04)`,
  ]);
  let seen = 0;
  const followed = (async () => {
    const pieces: Buffer[] = [];
    for await (const event of job.follow()) {
      if (event.type === 'exit') return { text: Buffer.concat(pieces), exit: event.exitCode };
      if (event.type !== 'stdout') throw new Error(`what is ${event.type} here?`);
      pieces.push(event.data);
      seen += event.data.length;
    }
    throw new Error('no exit came');
  })();
  for (const more of [5_000, 40_000]) {
    await until(() => seen > more, LIMIT_MS, 'some of the log');
    await stack.killAgent();
    stack.restartAgent();
    await stack.ready();
  }
  const { text, exit } = await followed;
  const expected = numbers(lines);
  expect([exit, sha256(text)]).toEqual([0, sha256(expected)]);
  expect(sha256(await wholeLog(job))).toBe(sha256(expected));
});

test('leaving a log that is being followed does not affect the job', async () => {
  const job = await sandbox.jobs.start('echo one; until [ -e /tmp/go3 ]; do sleep 0.05; done; echo two; exit 7');
  for await (const event of job.follow()) if (event.type === 'stdout') break;
  expect((await job.state()).state).toBe('running');
  await sandbox.exec('touch /tmp/go3', { check: true });
  const rest: string[] = [];
  for await (const event of job.follow({ stdout: 4 })) {
    rest.push(event.type === 'exit' ? `exit ${event.exitCode}` : event.type === 'stdout' ? event.data.toString() : '?');
  }
  expect(rest).toEqual(['two\n', 'exit 7']);
});

test('a start command is a job like any other, and logs are removed with their sandbox', async () => {
  const own = await stack.client.sandboxes.create({ startCommand: 'seq 1 300000; echo ready >&2; sleep 600' });
  const start = own.jobs.get('start');
  const expected = numbers(300_000);
  await until(async () => (await start.state()).stdoutBytes >= expected.length, LIMIT_MS, 'the start command');
  expect(sha256(await wholeLog(start))).toBe(sha256(expected));
  const directory = join(stack.home, 'node-1', 'jobs', own.id);
  expect(existsSync(directory)).toBe(true);
  await own.delete();
  await until(() => !existsSync(directory), LIMIT_MS, 'the logs to go');
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

test('a job without a timeout outlives every default, and is killed with everything it started', async () => {
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
  const window = await cli(stack, ['logs', sandbox.id, id, '--offset', '1', '--length', '3']);
  expect(window.stdout.toString()).toBe('ell');
  const following = cli(stack, ['logs', '-f', sandbox.id, id, '--tail', '3']);
  expect((await cli(stack, ['kill', sandbox.id, id, '-s', 'KILL'])).code).toBe(0);
  const { code, stdout } = await following;
  expect([code, stdout.toString()]).toEqual([137, 'lo\n']);
  await expect.poll(() => running(sandbox, 'sleep 64210'), { timeout: LIMIT_MS }).toEqual([]);
});
