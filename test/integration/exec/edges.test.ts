/** Commands at the limits of the kernel and the wire, over raw HTTP against a real service. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openClientStream } from '../../../src/gateway/testing/client-stream.ts';
import { createMux, dialWs, type Mux } from '../../../src/mux/index.ts';
import { startStack, type TestStack } from '../../helpers/stack.ts';
import { until } from '../../helpers/until.ts';

const LIMIT_MS = 60_000;
const ARG_BYTES = 128 * 1024 - 1;
const SCRIPT_BYTES = 10 * 1024 * 1024;

interface Result {
  error?: { code: string; message: string };
  execId: string;
  exitCode: number;
  signal: string | null;
  stdout: string;
  stderr: string;
  timedOut: boolean;
  oomKilled: boolean;
  truncated: { stdout: boolean; stderr: boolean };
  stdoutBytes: number;
}

let stack: TestStack;
let id: string;
beforeAll(async () => {
  stack = await startStack({ pool: 1 });
  id = (await stack.client.sandboxes.create({ memoryMb: 256, pidsLimit: 100, timeoutMs: 3_600_000 })).id;
});
afterAll(() => stack?.stop());

async function ask<T>(method: string, path: string, body?: string): Promise<T> {
  const response = await fetch(`${stack.url}/v1/sandboxes/${id}${path}`, {
    method,
    headers: { authorization: `Bearer ${stack.apiKey}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body }),
  });
  return (await response.json()) as T;
}

/** The body is JSON text, or a value to be serialised. */
const run = (body: object | string): Promise<Result> =>
  ask('POST', '/exec', typeof body === 'string' ? body : JSON.stringify(body));
const sh = (command: string, more: object = {}): Promise<Result> => run({ command, ...more });
const codeOf = async (body: object | string): Promise<string> => (await run(body)).error?.code ?? 'ran';

/** Text of this many bytes, in two-byte characters as far as possible. */
const wide = (bytes: number): string => 'é'.repeat(bytes >> 1) + (bytes % 2 === 0 ? '' : 'x');

test('limits count bytes: an argument, a variable, a script', async () => {
  const count = ['sh', '-c', 'printf %s "$1" | wc -c', 'sh'];
  for (const bytes of [ARG_BYTES - 1, ARG_BYTES]) {
    expect((await run({ argv: [...count, wide(bytes)] })).stdout.trim()).toBe(String(bytes));
  }
  expect(await codeOf({ argv: [...count, wide(ARG_BYTES + 1)] })).toBe('invalid_request');
  const withName = (bytes: number) => ({ argv: ['true'], env: { A: wide(bytes - 2) } });
  expect(await codeOf(withName(ARG_BYTES))).toBe('ran');
  expect(await codeOf(withName(ARG_BYTES + 1))).toBe('invalid_request');
  const script = (bytes: number): string => `echo ran\n#${wide(bytes - 10)}`;
  expect((await sh(script(SCRIPT_BYTES))).stdout).toBe('ran\n');
  expect(await codeOf({ command: script(SCRIPT_BYTES + 1) })).toBe('invalid_request');
});

test('a total that is too large is refused, and the next command runs', async () => {
  const env = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`V${i}`, 'x'.repeat(100_000)]));
  expect(await codeOf({ argv: ['true'], env })).toBe('invalid_request');
  expect(await codeOf({ argv: ['true', ...Array<string>(70_000).fill('x')] })).toBe('invalid_request');
  expect((await sh('echo next')).stdout).toBe('next\n');
});

test('a program that the kernel does not start is refused with the reason', async () => {
  const made = await sh(`mkdir -p /w/dir && cd /w
    printf '#!/bin/sh\\r\\necho x\\r\\n' > crlf; printf '#!/no/such\\n' > orphan; printf 'echo bare' > bare; : > empty
    cp /bin/true alien; printf '\\267\\000' | dd of=alien bs=1 seek=18 conv=notrunc 2>&1; head -c 100 /bin/true > cut
    printf '#!/w/dir\\n' > odd; chmod 755 *; printf '#!/bin/sh\\n' > closed; chmod 644 closed`);
  expect(made.exitCode).toBe(0);
  const rows: [argv0: string, code: string][] = [
    ['/w/dir', 'exec_permission_denied'],
    ['/w/crlf', 'exec_program_not_found'],
    ['/w/orphan', 'exec_program_not_found'],
    ['/w/bare', 'exec_permission_denied'],
    ['/w/empty', 'exec_permission_denied'],
    ['/w/alien', 'exec_permission_denied'],
    ['/w/cut', 'exec_permission_denied'],
    ['/w/odd', 'exec_permission_denied'],
    ['/w/closed', 'exec_permission_denied'],
    ['/w/crlf/x', 'exec_program_not_found'],
    ['', 'exec_program_not_found'],
    [`/w/${'n'.repeat(300)}`, 'exec_bad_args'],
  ];
  for (const [argv0, code] of rows) expect([argv0, await codeOf({ argv: [argv0] })]).toEqual([argv0, code]);
});

test('users by number and by name, and invalid ones', async () => {
  const rows: [user: string, told: string][] = [
    ['0', '0:0'],
    ['nobody', '65534:65534'],
    ['nobody:daemon', '65534:1'],
    ['nobody:7', '65534:7'],
    ['1234', '1234:0'],
    ['1234:4321', '1234:4321'],
    ['4294967295', 'exec_bad_user'],
    ['nobody:nothing', 'exec_bad_user'],
    ['nobody:', 'exec_bad_user'],
    ['-1', 'exec_bad_user'],
    [' root', 'exec_bad_user'],
  ];
  for (const [user, told] of rows) {
    const { error, stdout } = await sh('echo $(id -u):$(id -g)', { user });
    expect([user, error?.code ?? stdout.trim()]).toEqual([user, told]);
  }
});

test('programs of any user can reopen their streams by name', async () => {
  const command = 'cat /dev/stdin; echo out > /dev/stdout; echo err > /dev/stderr';
  for (const user of ['root', 'nobody', '1234']) {
    expect(await sh(command, { user, stdin: 'in ' })).toMatchObject({ stdout: 'in out\n', stderr: 'err\n' });
  }
});

test('empty input, and input that nobody reads', async () => {
  expect((await sh('wc -c', { stdin: '' })).stdout.trim()).toBe('0');
  expect((await sh('echo done', { stdin: 'x'.repeat(5_000_000) })).stdout).toBe('done\n');
  expect((await sh('exec <&-; echo done', { stdin: 'x'.repeat(5_000_000) })).stdout).toBe('done\n');
});

test('the smallest and largest limits', async () => {
  for (const timeoutMs of [0, -1, 1.5, 604_800_001]) {
    expect([timeoutMs, await codeOf({ command: 'true', timeoutMs })]).toEqual([timeoutMs, 'invalid_request']);
  }
  expect(await sh('sleep 600', { timeoutMs: 1 })).toMatchObject({ timedOut: true, signal: 'TERM' });
  expect(await sh('echo x', { timeoutMs: 604_800_000 })).toMatchObject({ timedOut: false, stdout: 'x\n' });
  const nothing = await sh('echo x; echo y >&2', { maxOutputBytes: 0 });
  expect(nothing).toMatchObject({ stdout: '', stderr: '', stdoutBytes: 2, truncated: { stdout: true, stderr: true } });
  expect(await sh('echo x', { maxOutputBytes: 64 * 1024 * 1024 })).toMatchObject({ truncated: { stdout: false } });
  expect(await codeOf({ command: 'true', maxOutputBytes: 64 * 1024 * 1024 + 1 })).toBe('invalid_request');
});

test('odd JSON: duplicate keys, lone surrogates, a key that every object has', async () => {
  expect((await run('{"command":"echo one","command":"echo two"}')).stdout).toBe('two\n');
  expect((await run(String.raw`{"argv":["printf","%s","\udcff"],"encoding":"base64"}`)).stdout).toBe('/w==');
  expect((await run('{"command":"env","env":{"__proto__":"x"}}')).stdout).toContain('__proto__=x\n');
  expect(await codeOf(String.raw`{"argv":["echo","a\u0000b"]}`)).toBe('invalid_request');
  for (const odd of ['%00', 'UPPER', 'a%2fb', '-ab', 'x'.repeat(65)]) {
    const answer = await ask<Result>('GET', `/execs/${odd}`);
    expect([odd, answer.error?.code]).toEqual([odd, 'invalid_request']);
  }
});

test('a program that closes its output, or leaves it to a daemon, has ended when it exits', async () => {
  expect(await sh('exec >&- 2>&-; exit 4')).toMatchObject({ exitCode: 4, stdout: '' });
  expect(await sh('echo early; (sleep 600; echo late) &')).toMatchObject({ exitCode: 0, stdout: 'early\n' });
  expect(await sh('setsid setsid sleep 600 & echo early')).toMatchObject({ exitCode: 0, stdout: 'early\n' });
});

test('every exit code and every signal is reported, and ends only its command', async () => {
  const script = `for i in $(seq 0 255); do sh -c "exit $i"; [ $? = $i ] || echo $i; done`;
  expect((await sh(script)).stdout).toBe('');
  for (const exitCode of [0, 1, 126, 127, 128, 129, 137, 254, 255]) {
    expect(await sh(`exit ${exitCode}`)).toMatchObject({ exitCode, signal: null });
  }
  // Without those that end nothing: CHLD, CONT, STOP and the like, URG, WINCH.
  const harmless = new Set([17, 18, 19, 20, 21, 22, 23, 28]);
  for (let number = 1; number <= 64; number++) {
    if (harmless.has(number)) continue;
    const result = await sh(`kill -${number} $$`);
    expect([number, result.error, result.exitCode]).toEqual([number, undefined, 128 + number]);
    expect(result.signal).toMatch(/^([A-Z0-9]+|RTMIN\+\d+|3[23])$/);
  }
  expect(await ask('GET', '')).toMatchObject({ status: 'RUNNING' });
});

test('a command that stops itself ends by its timeout, and continues on SIGCONT', async () => {
  expect(await sh('kill -STOP $$', { timeoutMs: 300, killGraceMs: 0 })).toMatchObject({ timedOut: true });
  const { execId } = await sh('echo stops; kill -STOP $$; exit 7', { background: true });
  const state = `/execs/${execId}`;
  const stopped = async () => (await sh(`grep -l "^State:.T" /proc/[0-9]*/status`)).stdout !== '';
  await until(stopped, LIMIT_MS, 'the command to stop');
  await ask('POST', `${state}/signal`, JSON.stringify({ signal: 'CONT' }));
  expect(await ask(`GET`, `${state}?waitMs=${LIMIT_MS}`)).toMatchObject({ state: 'exited', exit: { exitCode: 7 } });
});

test('zombies are reaped, and a fork bomb hits its limit and leaves the sandbox usable', async () => {
  await sh('for i in $(seq 300); do (sh -c "true &"); done');
  const zombies = async () => (await sh(`grep -l "^State:.Z" /proc/[0-9]*/status 2>/dev/null`)).stdout;
  await until(async () => (await zombies()) === '', LIMIT_MS, 'the zombies to be gone');
  const bomb = 'f() { setsid sh -c "sleep 600" & f & }; f 2>/dev/null; wait; sleep 600';
  expect(await sh(bomb, { timeoutMs: 2_000, killGraceMs: 100 })).toMatchObject({ timedOut: true });
  expect((await sh('echo alive')).stdout).toBe('alive\n');
});

test('only an OOM-killed command is reported as one', async () => {
  const eat = 'tail /dev/zero';
  let child = await sh(`(${eat}); echo $?`);
  // Before the memory of the one it has killed is free again, the kernel may kill the shell too.
  for (let more = 5; child.signal !== null && more > 0; more--) {
    expect(child).toMatchObject({ signal: 'KILL', oomKilled: true, stdout: '' });
    child = await sh(`(${eat}); echo $?`);
  }
  expect(child).toMatchObject({ stdout: '137\n', oomKilled: false });
  expect(await sh('kill -9 $$')).toMatchObject({ signal: 'KILL', oomKilled: false });
  expect(await sh(`exec ${eat}`)).toMatchObject({ signal: 'KILL', oomKilled: true });
  expect(await sh('kill -9 $$')).toMatchObject({ signal: 'KILL', oomKilled: false });
});

/** A client's link, whose streams are read only as far as the test wants. */
async function dial(): Promise<Mux> {
  const transport = await dialWs(`${stack.url.replace('http', 'ws')}/v1/ws`, {
    subprotocol: 'millibox.v1',
    headers: { authorization: `Bearer ${stack.apiKey}` },
    deadlineMs: LIMIT_MS,
  });
  return createMux({ transport, role: 'dialler', hello: { generation: 1 }, onHello: () => undefined });
}

test('a command with unread output is reported as ended when it is killed', async () => {
  const mux = await dial();
  try {
    const stream = mux.open({ op: 'exec', sandbox: id, id: 'exe-unread', command: 'yes' }, {});
    const states = async () => (await ask<{ execs: { state: string }[] }>('GET', '/execs?id=exe-unread')).execs;
    await until(async () => (await states())[0]?.state === 'running', LIMIT_MS, 'the command to run');
    stream.urgent({ type: 'kill' });
    await until(async () => (await states())[0]?.state === 'exited', LIMIT_MS, 'the command to have ended');
    expect((await states())[0]).toMatchObject({ exit: { signal: 'TERM' } });
  } finally {
    mux.close();
  }
});

test('over the WebSocket the same limits are refused with their codes, and the link survives', async () => {
  const mux = await dial();
  try {
    const open = (more: object) => openClientStream(mux, { op: 'exec', sandbox: id, ...more });
    const rows: [open: object, code: string][] = [
      [{ argv: ['x', wide(ARG_BYTES + 1)] }, 'invalid_request'],
      [{ argv: ['true'], timeoutMs: 0 }, 'invalid_request'],
      [{ argv: ['true'], id: 'exe-\u00ff' }, 'invalid_request'],
      [{ argv: ['/w/crlf'] }, 'exec_program_not_found'],
      [{ argv: ['true'], cwd: '/w/crlf' }, 'exec_bad_cwd'],
      [{ argv: ['true'], user: 'nobody:' }, 'exec_bad_user'],
      [{ scriptBytes: SCRIPT_BYTES + 1 }, 'invalid_request'],
    ];
    for (const [request, code] of rows) {
      await expect(open(request).opened, JSON.stringify(request).slice(0, 80)).rejects.toMatchObject({ code });
    }
    expect(await open({ argv: ['sh', '-c', 'kill -33 $$'] }).event('exit')).toMatchObject({ exitCode: 161 });
  } finally {
    mux.close();
  }
});
