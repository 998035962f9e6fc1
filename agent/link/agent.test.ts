import { renameSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { ServiceError } from '../../src/protocol/errors.ts';
import type { ExecState } from '../../src/protocol/exec.ts';
import { Channel } from '../../src/protocol/frames.ts';
import type { WatchEvent } from '../../src/protocol/node.ts';
import { codeOf } from '../testing/code-of.ts';
import { Harness, SECRET, newSpec, until } from '../testing/harness.ts';
import { NodeClient } from '../testing/node-client.ts';

test('create answers before the container exists, and an exec queues until it does', async () => {
  await using h = await Harness.fake({ launchMs: 200 }, { MILLIBOX_POOL_MIN: '0' });
  const spec = newSpec();
  const record = await h.client.create(spec);
  expect(['PENDING', 'PROVISIONING']).toContain(record.status);
  const outcome = await h.client.exec(spec.id, { argv: ['echo', 'early'] });
  expect(outcome.stdout.toString()).toBe('early\n');
  expect(outcome.opened['queueMs']).toBeGreaterThan(0);
  expect(h.record(spec.id).status).toBe('RUNNING');
});

test('stdin sent while the exec is queued arrives complete', async () => {
  await using h = await Harness.fake({ launchMs: 100 }, { MILLIBOX_POOL_MIN: '0' });
  const spec = newSpec();
  await h.client.create(spec);
  const stdin = Buffer.alloc(900_000, 'abcdefghij');
  const outcome = await h.client.exec(spec.id, { argv: ['cat'] }, { stdin });
  expect(outcome.stdout.equals(stdin)).toBe(true);
});

test('creating the same id again returns the same sandbox', async () => {
  await using h = await Harness.fake();
  const spec = newSpec();
  await Promise.all([h.client.create(spec), h.client.create(spec)]);
  await h.reaches(spec.id, 'RUNNING');
  expect((await h.client.create(spec)).startedAtMs).toBe(h.record(spec.id).startedAtMs);
  expect(h.agent.sandboxes.list()).toHaveLength(1);
});

test('a delete wins over a create in progress', async () => {
  await using h = await Harness.fake({ launchMs: 2_000 }, { MILLIBOX_POOL_MIN: '0' });
  const spec = newSpec();
  await h.client.create(spec);
  const waiting = codeOf(h.client.exec(spec.id, { argv: ['true'] }));
  expect((await h.client.delete(spec.id)).status).toBe('TERMINATED');
  expect(await waiting).toBe('sandbox_ended');
  await until('the container is gone', async () => (await h.runtime.list()).length === 0);
  expect(h.record(spec.id)).toMatchObject({ status: 'TERMINATED', reason: 'deleted' });
});

test('a create that arrives after its delete is refused', async () => {
  await using h = await Harness.fake();
  const spec = newSpec();
  expect(await codeOf(h.client.delete(spec.id))).toBe('sandbox_not_found');
  expect(await codeOf(h.client.create(spec))).toBe('sandbox_ended');
});

test('deleting twice returns the same record', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  const [first, second] = await Promise.all([h.client.delete(id), h.client.delete(id)]);
  expect(second).toEqual(first);
});

test('a full node refuses, and accepts again after a delete', async () => {
  await using h = await Harness.fake({}, { MILLIBOX_MAX_SANDBOXES: '1' });
  const { id } = await h.sandbox();
  expect(await codeOf(h.client.create(newSpec()))).toBe('capacity_exhausted');
  await h.client.delete(id);
  await until('there is room', async () => (await codeOf(h.client.create(newSpec()))) === 'no error');
});

test('a draining node accepts nothing new, and keeps what it has', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  await h.client.call({ op: 'drain', on: true });
  expect(await codeOf(h.client.create(newSpec()))).toBe('draining');
  expect((await h.client.exec(id, { argv: ['true'] })).exit.exitCode).toBe(0);
  await h.client.call({ op: 'drain', on: false });
  expect(await codeOf(h.client.create(newSpec()))).toBe('no error');
});

test.each(['missing', 'large'])('an unavailable image (%s) ends the sandbox, with the reason', async (kind) => {
  await using h = await Harness.fake();
  const spec = newSpec({ image: `${kind}/image` });
  await h.client.create(spec);
  expect(await codeOf(h.client.exec(spec.id, { argv: ['true'] }))).toBe('sandbox_ended');
  expect(h.record(spec.id)).toMatchObject({ status: 'ERROR', reason: 'image_pull_failed' });
});

test('env precedence is program, secrets, sandbox, image, and records hold no secret', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox({ env: { A: 'sandbox', B: 'sandbox' }, secrets: { B: 'hidden', C: 'hidden' } });
  const value = async (name: string): Promise<string> => {
    const outcome = await h.client.exec(id, { argv: ['printenv', name], env: { C: 'exec' } });
    return outcome.stdout.toString().trim();
  };
  expect(await Promise.all(['A', 'B', 'C', 'PATH'].map(value))).toEqual(['sandbox', 'hidden', 'exec', '/usr/bin:/bin']);
  expect(JSON.stringify(h.client.watch()) + JSON.stringify(h.agent.sandboxes.list())).not.toContain('hidden');
});

test('a program that does not exist is refused with its own code, and the sandbox stays', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  expect(await codeOf(h.client.exec(id, { argv: ['nosuch'] }))).toBe('exec_program_not_found');
  expect((await h.client.exec(id, { argv: ['exit', '7'] })).exit.exitCode).toBe(7);
});

test('a reader that stops reading blocks its own program and no other', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  const stalled = h.client.start({ op: 'exec', sandbox: id, argv: ['yes'] }, { hold: true });
  await until('its window is full', () => stalled.stdout.reduce((sum, { length }) => sum + length, 0) >= 256 * 1024);
  const outcome = await h.client.exec(id, { argv: ['yes', '3000000'] });
  expect(outcome.stdout.length).toBe(3_000_000);
  expect(stalled.stdout.reduce((sum, { length }) => sum + length, 0)).toBe(256 * 1024);
  stalled.stream.urgent({ type: 'kill' });
});

test('when the link to the gateway is cut the program continues, and attach resumes at the exact byte', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  const command = 'yes 100000; cat; yes 100000; exit 5';
  const first = h.client.start({ op: 'exec', sandbox: id, id: 'exe-resumed', command, stdin: true });
  await first.opened;
  h.client.mux.close();
  expect(await codeOf(first.outcome)).toBe('interrupted');
  const had = Buffer.concat(first.stdout);
  h.client = await NodeClient.dial(h.agent.port, SECRET);
  const second = h.client.start({ op: 'attach', sandbox: id, id: 'exe-resumed', stdout: had.length, stderr: 0 });
  await second.opened;
  second.stream.fin(Channel.STDIN);
  const rest = await second.outcome;
  expect(Buffer.concat([had, rest.stdout]).toString()).toBe('y\n'.repeat(100_000));
  expect(rest.exit.exitCode).toBe(5);
});

test('a container that dies ends its sandbox and fails the waiting calls', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  const { id: other } = await h.sandbox();
  const running = h.client.start({ op: 'exec', sandbox: id, argv: ['sleep', '600'] });
  await running.opened;
  h.runtime.kill(h.containerOf(id), { oomKilled: true });
  expect(await codeOf(running.outcome)).toBe('sandbox_ended');
  expect(h.record(id)).toMatchObject({ status: 'ERROR', reason: 'oom' });
  expect((await h.client.exec(other, { argv: ['true'] })).exit.exitCode).toBe(0);
});

test('gateways learn that a sandbox has ended before its calls fail', async () => {
  await using h = await Harness.fake();
  const heard = h.client.watch();
  const { id } = await h.sandbox();
  const running = Promise.withResolvers<void>();
  const known = Promise.withResolvers<boolean>();
  const isEnd = (event: WatchEvent): boolean => event.type === 'sandbox' && event.sandbox.endedAtMs !== null;
  h.client.mux.open(
    { op: 'exec', sandbox: id, argv: ['sleep', '600'] },
    { opened: () => running.resolve(), closed: () => known.resolve(heard.some(isEnd)) },
  );
  await running.promise;
  h.runtime.kill(h.containerOf(id), { oomKilled: true });
  expect(await known.promise).toBe(true);
});

test('when the link to boxinit breaks the stream ends as interrupted, and attach resumes', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  const command = 'cat; echo done; exit 4';
  const running = h.client.start({ op: 'exec', sandbox: id, id: 'exe-cut', command, stdin: true });
  await running.opened;
  h.runtime.cut(h.containerOf(id));
  expect(await codeOf(running.outcome)).toBe('interrupted');
  const again = h.client.start({ op: 'attach', sandbox: id, id: 'exe-cut' });
  await again.opened;
  again.stream.fin(Channel.STDIN);
  const rest = await again.outcome;
  expect([rest.stdout.toString(), rest.exit.exitCode]).toEqual(['done\n', 4]);
});

test('an OOM kill counted by the kernel is reported with one exit, once, whichever agent reports it', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  h.runtime.countOomKill(h.containerOf(id));
  const killed = async (): Promise<boolean> => {
    const running = h.client.start({ op: 'exec', sandbox: id, argv: ['sleep', '600'] });
    await running.opened;
    running.stream.urgent({ type: 'kill' });
    return (await running.outcome).exit.oomKilled;
  };
  expect([await killed(), await killed()]).toEqual([true, false]);
  await h.restart();
  expect(await killed()).toBe(false);
  h.runtime.countOomKill(h.containerOf(id));
  expect([await killed(), await killed()]).toEqual([true, false]);
});

test('the start command runs once the sandbox is running', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox({ startCommand: 'echo started; sleep 600' });
  const execs = async (): Promise<unknown> => (await h.client.call({ op: 'execs', sandbox: id }))['execs'];
  await until('it runs', async () => JSON.stringify(await execs()).includes('"execId":"start"'));
  await h.client.call({ op: 'signal', sandbox: id, id: 'start', signal: 'TERM' });
  const outcome = await h.client.start({ op: 'attach', sandbox: id, id: 'start' }).outcome;
  expect(outcome.stdout.toString()).toBe('started\n');
});

test('a job is listed with its exit, however often the exit is acknowledged', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  const job = h.client.start(
    { op: 'exec', sandbox: id, id: 'exe-job', command: 'echo out; exit 9', background: true },
    { keepExit: true },
  );
  await job.opened;
  job.stream.reset(new ServiceError('cancelled'));
  const list = async (): Promise<ExecState[]> => {
    const answer = await h.client.call({ op: 'execs', sandbox: id, ids: ['exe-job', 'exe-other'] });
    return answer['execs'] as ExecState[];
  };
  await until('it has exited', async () => (await list())[0]?.state === 'exited');
  expect(await list()).toMatchObject([{ execId: 'exe-job', background: true, stdoutBytes: 4, exit: { exitCode: 9 } }]);
  const attach = () => h.client.start({ op: 'attach', sandbox: id, id: 'exe-job' }).outcome;
  expect((await attach()).exit.exitCode).toBe(9);
  expect((await attach()).stdout.toString()).toBe('out\n');
  expect(await list()).toHaveLength(1);
});

test('expired and idle sandboxes end with their reason', async () => {
  await using h = await Harness.fake();
  const short = newSpec({ expiresAtMs: Date.now() + 100 });
  const idle = newSpec({ idleTimeoutMs: 100 });
  await Promise.all([h.client.create(short), h.client.create(idle)]);
  await h.reaches(short.id, 'TIMEOUT');
  await h.reaches(idle.id, 'TIMEOUT');
  expect([h.record(short.id).reason, h.record(idle.id).reason]).toEqual(['lifetime', 'idle']);
});

test('a sandbox with an open call is not idle', async () => {
  await using h = await Harness.fake();
  const spec = newSpec({ idleTimeoutMs: 100 });
  // The call arrives before the sandbox, so the sandbox is never without one.
  const [, outcome] = await Promise.all([h.client.create(spec), h.client.exec(spec.id, { argv: ['sleep', '0.5'] })]);
  expect(outcome.exit.exitCode).toBe(0);
  await h.reaches(spec.id, 'TIMEOUT');
});

test('extend moves the expiry', async () => {
  await using h = await Harness.fake();
  const spec = newSpec({ expiresAtMs: Date.now() + 3_600_000 });
  await h.client.create(spec);
  await h.client.call({ op: 'extend', sandbox: spec.id, expiresAtMs: Date.now() + 50 });
  await h.reaches(spec.id, 'TIMEOUT');
});

test('watch sends the full state once, then the changes', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  const events = h.client.watch();
  await until('the snapshot', () => events.length > 0);
  expect(events[0]).toMatchObject({ type: 'snapshot', more: false, sandboxes: [{ id, status: 'RUNNING' }] });
  const next = await h.sandbox();
  await h.client.delete(next.id);
  const seen = (status: string): boolean =>
    events.some((event) => event.type === 'sandbox' && event.sandbox.id === next.id && event.sandbox.status === status);
  await until('the end is reported', () => seen('TERMINATED'));
  expect(seen('RUNNING')).toBe(true);
  await until('the report is sent', () => events.some(({ type }) => type === 'node'));
});

test('malformed requests are refused, and the agent carries on', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  const bad = [
    {},
    { op: 5 },
    { op: 'constructor' },
    { op: 'create' },
    { op: 'create', spec: { ...newSpec(), id: '../../etc/passwd' } },
    { op: 'create', spec: { ...newSpec(), memoryMb: 'much' } },
    { op: 'exec', sandbox: id },
    { op: 'exec', sandbox: id, argv: ['true'], command: 'true' },
    { op: 'exec', sandbox: id, argv: 'true' },
    { op: 'exec', sandbox: id, argv: ['true'], id: '../x' },
    { op: 'exec', sandbox: 7, argv: ['true'] },
    { op: 'port', sandbox: id, port: 70_000 },
    { op: 'file', sandbox: id, call: 'format' },
    { op: 'signal', sandbox: id, id: 'x', signal: 'NOPE' },
  ];
  for (const request of bad) {
    expect(['invalid_request', 'not_supported']).toContain(await codeOf(h.client.call(request)));
  }
  expect(await codeOf(h.client.exec('sbx-unknown', { argv: ['true'] }))).toBe('sandbox_not_found');
  expect((await h.client.exec(id, { argv: ['true'] })).exit.exitCode).toBe(0);
});

test('a sandbox whose record cannot be written is refused, and the agent carries on', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  renameSync(path.join(h.dataDir, 'sandboxes'), path.join(h.dataDir, 'elsewhere'));
  const spec = newSpec();
  await expect(h.client.create(spec)).rejects.toMatchObject({ code: 'internal' });
  renameSync(path.join(h.dataDir, 'elsewhere'), path.join(h.dataDir, 'sandboxes'));
  expect((await h.client.exec(id, { argv: ['true'] })).exit.exitCode).toBe(0);
  await h.sandbox();
});
