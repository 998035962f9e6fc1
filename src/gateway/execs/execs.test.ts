import { afterEach, expect, test, vi } from 'vitest';
import { FakeNode } from '../testing/fake-node.ts';
import { TestGateway } from '../testing/harness.ts';

let gateway: TestGateway;
afterEach(() => gateway[Symbol.asyncDispose]());

test('a blocking exec answers with the complete result, and acknowledges the exit', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  const { status, json } = await gateway.exec(id, { stdout: 'out', stderr: 'err', exit: 3 });
  expect(status).toBe(200);
  expect(json).toMatchObject({
    exitCode: 3,
    signal: null,
    stdout: 'out',
    stderr: 'err',
    timedOut: false,
    oomKilled: false,
    truncated: { stdout: false, stderr: false },
    stdoutBytes: 3,
    stderrBytes: 3,
  });
  expect(json.execId).toMatch(/^exe-/);
  expect(json.durationMs).toBeGreaterThanOrEqual(0);
  expect(json.queueMs).toBeGreaterThanOrEqual(0);
  await gateway.until('the exit is acknowledged', () => gateway.node.execs.acknowledged.includes(json.execId));
});

test('an exec that arrives before its sandbox is placed waits in line, and runs once there is a node', async () => {
  const node = new FakeNode();
  node.offline = true;
  gateway = await TestGateway.start([node], { defaultImage: 'image' });
  const { json } = await gateway.ask('POST', '/v1/sandboxes', { body: {} });
  const locate = vi.spyOn(gateway.services.sandboxes, 'locate');
  const exec = gateway.exec(json.id, { stdout: 'here' });
  await gateway.until('it waits in line', () => locate.mock.calls.length > 0);
  node.offline = false;
  const result = await exec;
  expect(result.json).toMatchObject({ exitCode: 0, stdout: 'here' });
  expect(result.json.queueMs).toBeGreaterThan(0);
});

test('a command that never ran is a typed error, never an exit', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  for (const refuse of [
    'exec_program_not_found',
    'exec_bad_cwd',
    'exec_bad_user',
    'exec_permission_denied',
    'exec_resource_limit',
  ] as const) {
    const { json } = await gateway.exec(id, { refuse });
    expect(json.error.code).toBe(refuse);
    expect(json.exitCode).toBeUndefined();
  }
});

test('a stream that ends without an exit, or with an invalid one, is interrupted: never an exit 0', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  for (const lie of ['no exit', 'bad exit'] as const) {
    const { status, json } = await gateway.exec(id, { lie, stdout: 'x' });
    expect(json.error?.code).toBe('interrupted');
    expect(status).toBe(502);
  }
});

test('output above the cap is cut, flagged and counted, and drained to its end', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  const { json } = await gateway.exec(
    id,
    { stdout: '€'.repeat(1_000_000), stderr: 'short' },
    { fields: { maxOutputBytes: 1_000 } },
  );
  expect(json.truncated).toEqual({ stdout: true, stderr: false });
  expect(json.stdoutBytes).toBe(3_000_000);
  // Cut between characters, not within one.
  expect(json.stdout).toBe('€'.repeat(333));
  expect((await gateway.exec(id, { stdout: 'x' }, { fields: { maxOutputBytes: 0 } })).json).toMatchObject({
    stdout: '',
    truncated: { stdout: true },
  });
});

test('bytes that are not text survive in base64', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  const bytes = Buffer.from([0, 255, 128, 10, 200]);
  const { json } = await gateway.exec(
    id,
    { cat: true },
    { fields: { encoding: 'base64', stdin: bytes.toString('base64') } },
  );
  expect(Buffer.from(json.stdout, 'base64').equals(bytes)).toBe(true);
});

test('large stdin with large stdout cannot deadlock', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  const stdin = 'y'.repeat(3_000_000);
  const { json } = await gateway.exec(id, { cat: true, exit: 4 }, { fields: { stdin } });
  expect(json.exitCode).toBe(4);
  expect(json.stdout === stdin).toBe(true);
});

test('a script of several megabytes is sent as data', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  const padding = `#${'p'.repeat(9_000_000)}\n`;
  const { json } = await gateway.exec(id, `${padding}${JSON.stringify({ stdout: 'done', exit: 7 })}`);
  expect(json).toMatchObject({ stdout: 'done', exitCode: 7 });
  const [exec] = gateway.node.execs.started;
  expect(exec).toBe(json.execId);
  const tooLong = await gateway.exec(id, `: ${'p'.repeat(10 * 1024 * 1024)}`);
  expect(tooLong.json.error.code).toBe('invalid_request');
});

test('a client that goes away takes its blocking command with it', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  const gone = new AbortController();
  const asked = gateway.exec(id, { hang: true }, { signal: gone.signal });
  await gateway.node.execs.startedCount(1);
  const [execId = ''] = gateway.node.execs.started;
  gone.abort();
  await expect(asked).rejects.toThrow();
  await gateway.until('it is killed', () => gateway.node.execs.acknowledged.includes(execId));
});

test('repeating an idempotency key returns the result without running the command again; another request conflicts', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  const headers = { 'idempotency-key': 'once' };
  const answers = await Promise.all(
    Array.from({ length: 10 }, () => gateway.exec(id, { stdout: 'x', exit: 5 }, { headers })),
  );
  expect(new Set(answers.map(({ bytes }) => bytes.toString())).size).toBe(1);
  expect(gateway.node.execs.started.length).toBe(1);
  expect((await gateway.exec(id, { stdout: 'y' }, { headers })).json.error.code).toBe('idempotency_conflict');
});

test('a client that comes back with its key finds its command running; if it stays away the command is killed', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  const ask = (key: string, signal?: AbortSignal) =>
    gateway.exec(
      id,
      { hang: true, stdout: key },
      { headers: { 'idempotency-key': key }, ...(signal === undefined ? {} : { signal }) },
    );
  const cut = new AbortController();
  const first = ask('back', cut.signal);
  await gateway.node.execs.startedCount(1);
  const [execId = ''] = gateway.node.execs.started;
  cut.abort();
  await expect(first).rejects.toThrow();
  const again = ask('back');
  const gone = new AbortController();
  const other = ask('away', gone.signal);
  await gateway.node.execs.startedCount(2);
  const [, otherId = ''] = gateway.node.execs.started;
  gone.abort();
  await expect(other).rejects.toThrow();
  await gateway.until('the other is killed', () => gateway.node.execs.all.get(otherId)?.killed === true);
  expect(gateway.node.execs.all.get(execId)?.killed).toBe(false);
  gateway.node.execs.finish(execId, 6);
  expect((await again).json).toMatchObject({ execId, exitCode: 6, stdout: 'back' });
});

test('a retry with the same key on another gateway does not run the command again', async () => {
  const node = new FakeNode();
  gateway = await TestGateway.start([node]);
  const id = await gateway.sandbox();
  const headers = { 'idempotency-key': 'once' };
  const first = await gateway.exec(id, { stdout: 'x', exit: 5 }, { headers });
  await using second = await TestGateway.start([node]);
  const again = await second.exec(id, { stdout: 'x', exit: 5 }, { headers });
  expect(again.json).toMatchObject({ execId: first.json.execId, exitCode: 5, stdout: 'x' });
  expect(node.execs.started.length).toBe(1);
});

test('a link that is cut while a command runs goes unnoticed: output resumes where it was, the exit is right', async () => {
  const node = new FakeNode();
  gateway = await TestGateway.start([node]);
  const id = await gateway.sandbox();
  const asked = gateway.exec(id, { hang: true, stdout: 'a'.repeat(100_000) }, { fields: { stdin: 'in' } });
  await node.execs.startedCount(1);
  const [execId = ''] = node.execs.started;
  const exec = node.execs.all.get(execId);
  for (let i = 0; i < 3; i++) {
    const detaches = exec?.detaches ?? 0;
    node.cut();
    await gateway.until('it is attached again', () => exec?.stream !== null && (exec?.detaches ?? 0) > detaches);
    node.execs.say(execId, String(i));
  }
  node.execs.finish(execId, 9);
  const { json } = await asked;
  expect(json.exitCode).toBe(9);
  expect(json.stdout).toBe(`${'a'.repeat(100_000)}012`);
  expect(Buffer.concat(exec?.stdin ?? []).toString()).toBe('in');
  await gateway.until('the exit is acknowledged', () => !node.execs.all.has(execId));
  expect(node.execs.started.length).toBe(1);
});

test('a command whose first answer was lost gets its input once, however often it is retried', async () => {
  const node = new FakeNode();
  gateway = await TestGateway.start([node]);
  const id = await gateway.sandbox();
  const asked = gateway.exec(id, { mute: true, hang: true }, { fields: { stdin: 'input' } });
  await node.execs.startedCount(1);
  const [exec] = node.execs.all.values();
  const input = (): string => Buffer.concat(exec?.stdin ?? []).toString();
  await gateway.until('its input is there', () => input() === 'input');
  node.cut();
  await gateway.until('it is found again', () => exec?.stream !== null && (exec?.detaches ?? 0) > 0);
  node.execs.finish(exec?.id ?? '', 4);
  expect((await asked).json.exitCode).toBe(4);
  expect(input()).toBe('input');
  expect(node.execs.started.length).toBe(1);
});

test('a retry with its key on another gateway does not send the command its input again', async () => {
  const node = new FakeNode();
  gateway = await TestGateway.start([node]);
  const id = await gateway.sandbox();
  const call = { headers: { 'idempotency-key': 'once' }, fields: { stdin: 'input' } };
  const first = gateway.exec(id, { hang: true }, call);
  await node.execs.startedCount(1);
  const [exec] = node.execs.all.values();
  const input = (): string => Buffer.concat(exec?.stdin ?? []).toString();
  await gateway.until('its input is there', () => input() === 'input');
  await using second = await TestGateway.start([node]);
  const again = second.exec(id, { hang: true }, call);
  expect((await first).json.error.code).toBe('interrupted');
  node.execs.finish(exec?.id ?? '', 4);
  expect((await again).json.exitCode).toBe(4);
  expect(input()).toBe('input');
});

test('if a node does not come back its commands are interrupted, and calls that did nothing are retryable', async () => {
  const node = new FakeNode();
  gateway = await TestGateway.start([node], { resumeMs: 50, linkPatienceMs: 50 });
  const id = await gateway.sandbox();
  const asked = gateway.exec(id, { hang: true });
  await node.execs.startedCount(1);
  node.vanish();
  expect((await asked).json.error).toMatchObject({ code: 'interrupted', retryable: false });
  const next = await gateway.exec(id, {});
  expect(next.status).toBe(503);
  expect(next.json.error).toMatchObject({ code: 'node_unavailable', retryable: true });
});

test('a sandbox that dies under a command ends it with a typed error', async () => {
  const node = new FakeNode();
  gateway = await TestGateway.start([node]);
  const id = await gateway.sandbox();
  const asked = gateway.exec(id, { hang: true });
  await node.execs.startedCount(1);
  const { ServiceError } = await import('../../protocol/errors.ts');
  const [exec] = node.execs.all.values();
  exec?.stream?.reset(new ServiceError('sandbox_ended', undefined, { details: { reason: 'oom' } }));
  expect((await asked).json.error).toMatchObject({ code: 'sandbox_ended', details: { reason: 'oom' } });
});

test('a job runs on its own; it is listed, polled, read by window and signalled', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  const base = `/v1/sandboxes/${id}/execs`;
  const started = await gateway.exec(id, { hang: true, stdout: 'Hello, wo' }, { fields: { background: true } });
  const { execId } = started.json;
  expect(started.json).toEqual({ execId });
  expect((await gateway.ask('GET', base)).json.execs).toMatchObject([
    { execId, state: 'running', background: true, exit: null },
  ]);
  const { execs } = gateway.node;
  expect(execs.all.get(execId)?.request).not.toHaveProperty('timeoutMs');
  execs.say(execId, 'rld\n\n\nend');
  const window = async (query: string) =>
    (await gateway.ask('GET', `${base}/${execId}/output?${query}`)).bytes.toString();
  expect(await window('')).toBe('Hello, world\n\n\nend');
  expect(await window('offset=7&length=5')).toBe('world');
  expect(await window('offset=-3')).toBe('end');
  expect(await window('offset=500')).toBe('');
  expect(await window('channel=stderr')).toBe('');
  const waiting = gateway.ask('GET', `${base}/${execId}?waitMs=20000`);
  await gateway.ask('POST', `${base}/${execId}/signal`, { body: { signal: 'TERM', all: true } });
  expect(execs.signals).toMatchObject([{ signal: 'TERM', all: true }]);
  execs.finish(execId, 4);
  expect((await waiting).json).toMatchObject({ execId, state: 'exited', exit: { exitCode: 4 } });
  // The exit was reported but not acknowledged: it is returned again, also for several at once.
  const many = await gateway.ask('GET', `${base}?id=${execId}&id=exe-unknown`);
  expect(many.json.execs).toMatchObject([{ execId, exit: { exitCode: 4 } }]);
  expect(await window('offset=0&length=5')).toBe('Hello');
});

test('reading a window does not take output away from an attached reader', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  const asked = gateway.exec(id, { hang: true, stdout: 'x' });
  await gateway.node.execs.startedCount(1);
  const [execId = ''] = gateway.node.execs.started;
  const window = await gateway.ask('GET', `/v1/sandboxes/${id}/execs/${execId}/output`);
  expect(window.json.error.code).toBe('invalid_request');
  gateway.node.execs.finish(execId);
  expect((await asked).json.stdout).toBe('x');
});

test('200 commands at once, each with its own result', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  const answers = await Promise.all(
    Array.from({ length: 200 }, (_, i) => gateway.exec(id, { stdout: `o${i}`, exit: i % 256 })),
  );
  answers.forEach(({ json }, i) => expect(json).toMatchObject({ stdout: `o${i}`, exitCode: i % 256 }));
  await gateway.until('no stream is left', () =>
    gateway.services.registry.all.every((node) => (node.link?.streams ?? 0) <= 1),
  );
});
