import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { ServiceError } from '../../src/protocol/errors.ts';
import type { ExecState } from '../../src/protocol/exec.ts';
import { Channel } from '../../src/protocol/frames.ts';
import { Harness, until } from '../testing/harness.ts';
import type { FakeRuntime } from '../runtime/fake/fake-runtime.ts';

type Fake = Harness<FakeRuntime>;
const MIB = 1024 * 1024;

/** Starts a job and detaches from it, as a gateway does. */
async function start(h: Fake, sandbox: string, id: string, command: string): Promise<void> {
  const job = h.client.start({ op: 'exec', sandbox, id, command, background: true }, { keepExit: true });
  await job.opened;
  job.stream.reset(new ServiceError('cancelled'));
}

async function stateOf(h: Fake, sandbox: string, id: string): Promise<ExecState | undefined> {
  return ((await h.client.call({ op: 'execs', sandbox, ids: [id] }))['execs'] as ExecState[])[0];
}

const ended = (h: Fake, sandbox: string, id: string): Promise<void> =>
  until(`${id} has ended`, async () => (await stateOf(h, sandbox, id))?.state === 'exited');

const attach = (h: Fake, sandbox: string, id: string, from: { stdout?: number; stderr?: number } = {}) =>
  h.client.start({ op: 'attach', sandbox, id, ...from });

const directoryOf = (h: Fake, ...names: string[]): string => path.join(h.dataDir, 'jobs', ...names);

test('a job without readers writes far more than boxinit buffers to its end, and all of it can be read afterwards', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  await start(h, id, 'exe-job', `yes ${5 * MIB}; echo tail; warn noted; exit 3`);
  await ended(h, id, 'exe-job');
  expect(await stateOf(h, id, 'exe-job')).toMatchObject({ stdoutBytes: 5 * MIB + 5, stdoutFrom: 0, stderrFrom: 0 });
  const { stdout, stderr, exit, events } = await attach(h, id, 'exe-job').outcome;
  expect(stdout.equals(Buffer.from(`${'y\n'.repeat((5 * MIB) / 2)}tail\n`))).toBe(true);
  expect([stderr.toString(), exit.exitCode, events.length]).toEqual(['noted\n', 3, 1]);
  const tail = await attach(h, id, 'exe-job', { stdout: 5 * MIB, stderr: 6 }).outcome;
  expect([tail.stdout.toString(), tail.stderr.toString()]).toEqual(['tail\n', '']);
});

test('waiting for a job returns when it has ended, or after the requested time', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  await start(h, id, 'exe-job', 'sleep 60');
  const look = async (waitMs: number): Promise<ExecState | undefined> =>
    ((await h.client.call({ op: 'execs', sandbox: id, ids: ['exe-job'], waitMs }))['execs'] as ExecState[])[0];
  expect(await look(20)).toMatchObject({ state: 'running', exit: null });
  const waiting = look(10_000);
  await h.client.call({ op: 'signal', sandbox: id, id: 'exe-job', signal: 'KILL' });
  expect(await waiting).toMatchObject({ state: 'exited', exit: { signal: 'KILL' } });
});

test('a reader that reads nothing blocks neither the job nor other readers', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  const stuck = h.client.start(
    { op: 'exec', sandbox: id, id: 'exe-job', command: `yes ${3 * MIB}`, background: true },
    { hold: true },
  );
  await stuck.opened;
  const other = await attach(h, id, 'exe-job').outcome;
  expect([other.stdout.length, other.exit.exitCode]).toEqual([3 * MIB, 0]);
});

test('a job over its limit loses its oldest output, and readers are told the lost range', async () => {
  await using h = await Harness.fake({}, { MILLIBOX_JOB_LOG_MB: '1' });
  const { id } = await h.sandbox();
  await start(h, id, 'exe-job', `echo first; yes ${8 * MIB}; echo last; warn kept`);
  await ended(h, id, 'exe-job');
  const { stdoutBytes, stdoutFrom = 0 } = (await stateOf(h, id, 'exe-job')) as ExecState;
  expect(stdoutBytes - stdoutFrom).toBeLessThanOrEqual(MIB);
  expect(stdoutBytes - stdoutFrom).toBeGreaterThan(MIB / 2);
  const { stdout, stderr, events } = await attach(h, id, 'exe-job').outcome;
  expect(events[0]).toEqual({ type: 'output_lost', channel: 'stdout', from: 0, to: stdoutFrom });
  expect(stdout.length).toBe(stdoutBytes - stdoutFrom);
  expect(stdout.subarray(-5).toString()).toBe('last\n');
  expect(stderr.toString()).toBe('kept\n');
});

test("when the node's log limit is reached, the sandbox with the most output loses its oldest", async () => {
  await using h = await Harness.fake({}, { MILLIBOX_JOB_LOG_MB: '4', MILLIBOX_JOB_LOGS_MB: '4' });
  const [small, large] = [await h.sandbox(), await h.sandbox()];
  await start(h, small.id, 'exe-small', `yes ${MIB}`);
  await ended(h, small.id, 'exe-small');
  for (const name of ['exe-one', 'exe-two']) {
    await start(h, large.id, name, `yes ${3 * MIB}`);
    await ended(h, large.id, name);
  }
  expect(await stateOf(h, small.id, 'exe-small')).toMatchObject({ stdoutBytes: MIB, stdoutFrom: 0 });
  const kept = await Promise.all(
    ['exe-one', 'exe-two'].map(async (name) => {
      const { stdoutBytes, stdoutFrom = 0 } = (await stateOf(h, large.id, name)) as ExecState;
      return stdoutBytes - stdoutFrom;
    }),
  );
  expect(kept[0]! + kept[1]!).toBeLessThan(3 * MIB);
  expect(kept[0]! + kept[1]!).toBeGreaterThan(2 * MIB);
});

test('a restarted agent continues where the log ends, and learns what ended meanwhile', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  await start(h, id, 'exe-done', 'echo done; exit 4');
  await ended(h, id, 'exe-done');
  const command = 'echo begun; cat; exit 5';
  const job = h.client.start(
    { op: 'exec', sandbox: id, id: 'exe-job', command, background: true, stdin: true },
    { keepExit: true },
  );
  await job.opened;
  await until('its first words are written', async () => (await stateOf(h, id, 'exe-job'))?.stdoutBytes === 6);
  await h.restart();
  expect(await stateOf(h, id, 'exe-done')).toMatchObject({ stdoutBytes: 5, exit: { exitCode: 4 } });
  const again = attach(h, id, 'exe-job');
  await again.opened;
  await again.stream.write(Channel.STDIN, Buffer.from('more\n'));
  again.stream.fin(Channel.STDIN);
  const { stdout, exit } = await again.outcome;
  expect([stdout.toString(), exit.exitCode]).toEqual(['begun\nmore\n', 5]);
  await h.restart();
  expect((await attach(h, id, 'exe-job').outcome).stdout.toString()).toBe('begun\nmore\n');
});

test('an unreadable job is left to the next agent, and does not run again meanwhile', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  for (const name of ['exe-lost', 'exe-other']) {
    await start(h, id, name, 'echo kept');
    await ended(h, id, name);
  }
  const mend = await restartWithout(h, directoryOf(h, id, 'exe-lost', 'job.json'));
  expect(h.record(id).status).toBe('RUNNING');
  expect((await attach(h, id, 'exe-other').outcome).stdout.toString()).toBe('kept\n');
  const again = { op: 'exec', sandbox: id, id: 'exe-lost', command: 'echo kept', background: true };
  await expect(h.client.start(again).outcome).rejects.toMatchObject({ code: 'internal' });
  await mend();
  expect((await attach(h, id, 'exe-lost').outcome).stdout.toString()).toBe('kept\n');
});

/** Restarts the agent so that it cannot read this directory or file until the returned function is called. */
async function restartWithout(h: Fake, file: string): Promise<() => Promise<void>> {
  const kept = path.join(h.dataDir, 'kept');
  await h.agent.stop();
  renameSync(file, kept);
  // Replacing a file with a directory, or the reverse, makes reading fail even for root.
  if (statSync(kept).isDirectory()) writeFileSync(file, '');
  else mkdirSync(file);
  await h.restart();
  return async () => {
    await h.agent.stop();
    rmSync(file, { recursive: true });
    renameSync(kept, file);
    await h.restart();
  };
}

test('a running job with an unreadable record is not read beyond its log, but can be signalled', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  await start(h, id, 'exe-job', `yes ${MIB}; echo last; sleep 60`);
  await until('its output is written', async () => (await stateOf(h, id, 'exe-job'))?.stdoutBytes === MIB + 5);
  const mend = await restartWithout(h, directoryOf(h, id, 'exe-job', 'job.json'));
  const same = { sandbox: id, id: 'exe-job' };
  await expect(attach(h, id, 'exe-job').outcome).rejects.toMatchObject({ code: 'internal' });
  const plain = h.client.start({ op: 'exec', ...same, command: 'echo other' });
  await expect(plain.outcome).rejects.toMatchObject({ code: 'internal' });
  await h.client.call({ op: 'signal', ...same, signal: 'TERM' });
  await mend();
  await ended(h, id, 'exe-job');
  const { stdout, exit } = await attach(h, id, 'exe-job').outcome;
  expect([stdout.length, exit.signal]).toEqual([MIB + 5, 'TERM']);
});

test("while a sandbox's jobs are unreadable, new commands run, and those that may be jobs are refused", async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  await start(h, id, 'exe-job', 'sleep 60');
  const mend = await restartWithout(h, directoryOf(h, id));
  expect((await h.client.exec(id, { command: 'echo runs' })).stdout.toString()).toBe('runs\n');
  const again = { op: 'exec', sandbox: id, id: 'exe-job', command: 'sleep 60', background: true };
  await expect(h.client.start(again).outcome).rejects.toMatchObject({ code: 'internal' });
  await mend();
  expect(await stateOf(h, id, 'exe-job')).toMatchObject({ state: 'running' });
});

test('a broken link to boxinit costs a job nothing', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  await start(h, id, 'exe-job', `yes ${8 * MIB}; echo last`);
  for (let i = 0; i < 3; i++) {
    h.runtime.cut(h.containerOf(id));
    await h.client.exec(id, { argv: ['true'] }).catch(() => undefined);
  }
  await ended(h, id, 'exe-job');
  const { stdout, events } = await attach(h, id, 'exe-job').outcome;
  const lost = events.flatMap(({ type, from, to }) => (type === 'output_lost' ? [Number(to) - Number(from)] : []));
  expect(stdout.length + lost.reduce((sum, bytes) => sum + bytes, 0)).toBe(8 * MIB + 5);
  expect(stdout.subarray(-5).toString()).toBe('last\n');
});

test('input after its end does not harm a job, whichever reader sends it', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  const command = 'cat; sleep 0.2; echo last';
  const job = h.client.start({ op: 'exec', sandbox: id, id: 'exe-job', command, background: true, stdin: true });
  await job.opened;
  await job.stream.write(Channel.STDIN, Buffer.from('in\n'));
  job.stream.fin(Channel.STDIN);
  const other = attach(h, id, 'exe-job');
  await other.opened;
  await other.stream.write(Channel.STDIN, Buffer.from('late'));
  const outcomes = await Promise.all([job.outcome, other.outcome]);
  expect(outcomes.map(({ stdout, exit }) => [stdout.toString(), exit.exitCode])).toEqual([
    ['in\nlast\n', 0],
    ['in\nlast\n', 0],
  ]);
});

test('an id runs once, and a repeated request follows the job', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  const ask = { op: 'exec', sandbox: id, id: 'exe-job', command: 'echo once', background: true };
  const first = await h.client.start(ask).outcome;
  const second = await h.client.start(ask).outcome;
  expect(second.opened).toMatchObject({ adopted: true, pid: first.opened['pid'] });
  expect([first, second].map(({ stdout }) => stdout.toString())).toEqual(['once\n', 'once\n']);
});

test('a different request under the id of a job is a conflict', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  const ask = {
    op: 'exec',
    sandbox: id,
    id: 'exe-job',
    command: 'echo once',
    env: { A: '1', B: '2' },
    background: true,
  };
  await h.client.start(ask).outcome;
  for (const other of [{ command: 'echo twice' }, { env: { A: '2', B: '1' } }, { background: false }]) {
    await expect(h.client.start({ ...ask, ...other }).outcome).rejects.toMatchObject({ code: 'idempotency_conflict' });
  }
  const same = await h.client.start({ ...ask, env: { B: '2', A: '1' }, timeoutMs: 60_000 }).outcome;
  expect(same.opened).toMatchObject({ adopted: true });
});

test('a job that cannot start leaves nothing behind, and its id is free again', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  const ask = (argv: string[]) =>
    h.client.start({ op: 'exec', sandbox: id, id: 'exe-job', argv, background: true }).outcome;
  await expect(ask(['no-such-program'])).rejects.toMatchObject({ code: 'exec_program_not_found' });
  expect((await ask(['echo', 'hi'])).stdout.toString()).toBe('hi\n');
  await expect(h.client.start({ op: 'attach', sandbox: id, id: 'exe-other' }).outcome).rejects.toMatchObject({
    code: 'exec_not_found',
  });
});

test("a sandbox's logs are removed with it", async () => {
  await using h = await Harness.fake();
  const [one, two] = [await h.sandbox(), await h.sandbox()];
  for (const { id } of [one, two]) {
    await start(h, id, 'exe-job', 'echo kept');
    await ended(h, id, 'exe-job');
  }
  const follower = attach(h, one.id, 'exe-job', { stdout: 5 });
  await follower.opened;
  await h.client.delete(one.id);
  await until('its directory is gone', () => !existsSync(directoryOf(h, one.id)));
  expect(readdirSync(directoryOf(h))).toEqual([two.id]);
});

test('files of a sandbox that ended while no agent was running are removed', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  await start(h, id, 'exe-job', 'echo kept');
  await ended(h, id, 'exe-job');
  await h.agent.stop();
  await h.runtime.destroy(h.containerOf(id));
  await h.restart();
  expect(readdirSync(directoryOf(h))).toEqual([]);
});

test('readers waiting at the end of a silent job are released with their streams', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  await start(h, id, 'exe-job', 'sleep 60');
  const followers = Array.from({ length: 200 }, () => attach(h, id, 'exe-job'));
  await Promise.all(followers.map(({ opened }) => opened));
  expect(h.agent.sandboxes.get(id).calls).toBe(200);
  for (const { stream } of followers) stream.reset(new ServiceError('cancelled'));
  await until('all are gone', () => h.agent.sandboxes.get(id).calls === 0);
  await h.client.call({ op: 'signal', sandbox: id, id: 'exe-job', signal: 'TERM' });
  await ended(h, id, 'exe-job');
});
