/**
 * The Connect wire with an independent client from npm: it needs no Python and no package index, so it is always
 * tested. Streams and links are cut in ways that no official client would.
 */
import { randomUUID } from 'node:crypto';
import { Code, ConnectError, createClient, type Client } from '@connectrpc/connect';
import { createConnectTransport } from '@connectrpc/connect-node';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  CommandSession,
  type CommandSessionEvent,
} from '../../../src/gateway/doors/prime/connect/command-session.gen.ts';
import { startStack, type TestStack } from '../../helpers/stack.ts';
import { until } from '../../helpers/until.ts';
import { testImage } from './clients.ts';

const LIMIT_MS = 60_000;
/** A killed part gets time to come back, even on a slow machine. */
const PATIENT = {
  MILLIBOX_RESUME_MS: '60000',
  MILLIBOX_LINK_PATIENCE_MS: '60000',
  MILLIBOX_NODE_GRACE_MS: '60000',
};
let stack: TestStack;
let sandbox: string;
let rpc: Client<typeof CommandSession>;

interface Auth {
  token: string;
  gateway_url: string;
  user_ns: string;
  job_id: string;
}

const api = async (method: string, path: string, body?: unknown): Promise<Record<string, unknown>> => {
  const response = await fetch(`${stack.url}/api/v1${path}`, {
    method,
    headers: { authorization: `Bearer ${stack.apiKey}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return (await response.json()) as Record<string, unknown>;
};

async function clientFor(id: string, options: { token?: string } = {}): Promise<Client<typeof CommandSession>> {
  const auth = (await api('POST', `/sandbox/${id}/auth`)) as unknown as Auth;
  const transport = createConnectTransport({
    httpVersion: '1.1',
    baseUrl: `${auth.gateway_url}/${auth.user_ns}/${auth.job_id}`,
    useBinaryFormat: true,
    interceptors: [
      (next) => (request) => {
        request.header.set('authorization', `Bearer ${options.token ?? auth.token}`);
        return next(request);
      },
    ],
  });
  return createClient(CommandSession, transport);
}

beforeAll(async () => {
  stack = await startStack({ pool: 1, gatewayEnv: { MILLIBOX_PRIME_NETWORK: 'off', ...PATIENT } });
  sandbox = String((await api('POST', '/sandbox', { name: 'connect', docker_image: testImage(), vm: true }))['id']);
  rpc = await clientFor(sandbox);
});
afterAll(() => stack?.stop());

const shell = (text: string) => ({ cmd: '/bin/bash', args: ['-c', text], envs: {} });
const bytes = (text: string): Uint8Array => Buffer.from(text);

interface Told {
  event?: CommandSessionEvent | undefined;
}

/** A stream of a session, read in the background, which can be cut. */
class Reader {
  text = '';
  pid = 0;
  exitCode: number | undefined;
  readonly done: Promise<void>;
  readonly #cut = new AbortController();

  constructor(open: (signal: AbortSignal) => AsyncIterable<Told>) {
    this.done = this.#read(open(this.#cut.signal));
    this.done.catch(() => undefined);
  }

  cut(): void {
    this.#cut.abort();
  }

  async sees(text: string): Promise<void> {
    await until(() => this.text.includes(text), LIMIT_MS, JSON.stringify(text));
  }

  async #read(stream: AsyncIterable<Told>): Promise<void> {
    for await (const { event } of stream) {
      const told = event?.event;
      if (told?.case === 'start') this.pid = told.value.pid;
      if (told?.case === 'end') this.exitCode = told.value.exitCode;
      if (told?.case === 'data') this.text += Buffer.from(told.value.output.value ?? []).toString('latin1');
    }
  }
}

const start = (text: string, sessionUuid?: string, stdin = true): Reader =>
  new Reader((signal) =>
    rpc.start({ command: shell(text), stdin, ...(sessionUuid === undefined ? {} : { sessionUuid }) }, { signal }),
  );
const connect = (sessionUuid: string): Reader =>
  new Reader((signal) => rpc.connect({ session: selector(sessionUuid) }, { signal }));
const selector = (sessionUuid: string) => ({ selector: { case: 'sessionUuid', value: sessionUuid } }) as const;
const send = (session: string, text: string, inputUuid = randomUUID()) =>
  rpc.sendInput({ session: selector(session), input: { input: { case: 'stdin', value: bytes(text) } }, inputUuid });

describe('a command', () => {
  test('reports its start, its output and its exit, in this order', async () => {
    const kinds: (string | undefined)[] = [];
    for await (const { event } of rpc.start({ command: shell('echo out; exit 3') })) kinds.push(event?.event.case);
    expect(kinds).toEqual(['start', 'data', 'end']);
  });

  test('no character is split between two events', async () => {
    const program = `import os, time\nfor byte in "ä€😀".encode() * 3: os.write(1, bytes([byte])); time.sleep(0.01)`;
    const pieces: string[] = [];
    for await (const { event } of rpc.start({ command: { cmd: 'python3', args: ['-c', program], envs: {} } })) {
      if (event?.event.case !== 'data') continue;
      pieces.push(new TextDecoder().decode(event.event.value.output.value));
    }
    expect(pieces.join('')).toBe('ä€😀'.repeat(3));
  });

  test('one that takes too long ends as deadline_exceeded, and is killed', async () => {
    const long = new Reader(() => rpc.start({ command: shell('echo begun; exec sleep 611') }, { timeoutMs: 3_000 }));
    await expect(long.done).rejects.toMatchObject({ code: Code.DeadlineExceeded });
    await gone('sleep 611');
  });

  test('one whose client disconnects is killed', async () => {
    const left = start('echo begun; exec sleep 612', undefined, false);
    await left.sees('begun');
    left.cut();
    await gone('sleep 612');
  });

  test.each([
    ['a directory that is not there', { ...shell('true'), cwd: '/no/such' }, Code.FailedPrecondition],
    ['a user that is not there', { ...shell('true'), user: 'nobody-knows' }, Code.FailedPrecondition],
    ['a program that is not there', { cmd: '/no/such', args: [], envs: {} }, Code.FailedPrecondition],
  ])('%s is refused for good', async (_what, command, code) => {
    const refused = new Reader(() => rpc.start({ command }));
    await expect(refused.done).rejects.toMatchObject({ code });
  });
});

describe('access', () => {
  test('without the right token every call is unauthenticated', async () => {
    const wrong = await clientFor(sandbox, { token: 'wrong.token' });
    await expect(new Reader(() => wrong.start({ command: shell('true') })).done).rejects.toMatchObject({
      code: Code.Unauthenticated,
    });
    await expect(wrong.list({})).rejects.toMatchObject({ code: Code.Unauthenticated });
  });

  test('a sandbox that has ended is not_found', async () => {
    const made = String((await api('POST', '/sandbox', { name: 'x', docker_image: testImage() }))['id']);
    const its = await clientFor(made);
    await api('DELETE', `/sandbox/${made}`);
    await expect(new Reader(() => its.start({ command: shell('true') })).done).rejects.toMatchObject({
      code: Code.NotFound,
    });
  });

  test('an unknown method is unimplemented', async () => {
    const auth = (await api('POST', `/sandbox/${sandbox}/auth`)) as unknown as Auth;
    const response = await fetch(
      `${auth.gateway_url}/${auth.user_ns}/${auth.job_id}/command_session.CommandSession/StreamInput`,
      { method: 'POST', headers: { authorization: `Bearer ${auth.token}`, 'content-type': 'application/proto' } },
    );
    expect(response.status).toBe(404);
  });
});

test('no port is exposed for TCP unless the operator gave ports for it', async () => {
  const answer = await api('POST', `/sandbox/${sandbox}/expose`, { port: 80, protocol: 'TCP' });
  expect(answer).toMatchObject({ code: 'not_supported', detail: expect.stringContaining('operator') as string });
});

describe('a session', () => {
  test('continues where its stream was cut: output, input and exit', async () => {
    const id = randomUUID();
    const first = start('echo one; while read line; do echo "got $line"; [ "$line" = last ] && exit 9; done', id);
    await first.sees('one\n');
    first.cut();
    await send(id, 'while nobody listens\n');
    const second = connect(id);
    await second.sees('got while nobody listens\n');
    expect(second.pid).toBe(first.pid);
    expect(second.text).toBe('got while nobody listens\n');
    await send(id, 'last\n');
    await second.done;
    expect(second.exitCode).toBe(9);
  });

  test('reports its end again to later readers', async () => {
    const id = randomUUID();
    await start('exit 4', id).done;
    const later = connect(id);
    await later.done;
    expect(later.exitCode).toBe(4);
  });

  test('a repeated start does not start another, and a different command under its id is refused', async () => {
    const id = randomUUID();
    const first = start('echo $$; sleep 613', id);
    await first.sees('\n');
    first.cut();
    const again = start('echo $$; sleep 613', id);
    await until(() => again.pid !== 0, LIMIT_MS, 'the session');
    expect(again.pid).toBe(first.pid);
    await expect(start('echo other', id).done).rejects.toMatchObject({ code: Code.FailedPrecondition });
    await rpc.sendSignal({ session: selector(id), signal: 9 });
    await again.done;
    expect(again.exitCode).toBe(137);
  });

  test('input under one key is applied once', async () => {
    const id = randomUUID();
    const reader = start('read a; echo "a=$a"; read b; echo "b=$b"', id);
    await until(() => reader.pid !== 0, LIMIT_MS, 'the session');
    const key = randomUUID();
    await Promise.all([send(id, 'first\n', key), send(id, 'first\n', key)]);
    await send(id, 'first\n', key);
    await send(id, 'second\n');
    await reader.done;
    expect(reader.text).toBe('a=first\nb=second\n');
  });

  test('is also found by its process id, is listed while it runs, and ends by TERM', async () => {
    const reader = start('exec cat');
    await until(() => reader.pid !== 0, LIMIT_MS, 'the session');
    const session = { selector: { case: 'pid', value: reader.pid } } as const;
    const { sessions } = await rpc.list({});
    expect(sessions.map(({ pid }) => pid)).toContain(reader.pid);
    await rpc.sendInput({ session, input: { input: { case: 'stdin', value: bytes('by pid\n') } } });
    await reader.sees('by pid\n');
    await rpc.sendSignal({ session, signal: 15 });
    await reader.done;
    expect(reader.exitCode).toBe(143);
  });

  test.each([
    ['an id that is none', { selector: { case: 'sessionUuid', value: randomUUID() } } as const, Code.NotFound],
    ['no selector', {}, Code.InvalidArgument],
  ])('%s is an error', async (_what, session, code) => {
    const failure = await rpc.sendSignal({ session, signal: 15 }).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(ConnectError);
    expect(failure).toMatchObject({ code });
  });

  test('no byte of input or output is lost or duplicated when the agent is killed and restarted', async () => {
    const id = randomUUID();
    const reader = start('exec cat', id);
    await until(() => reader.pid !== 0, LIMIT_MS, 'the session');
    const lines: string[] = [];
    const write = async (from: number, to: number): Promise<void> => {
      for (let n = from; n < to; n++) {
        const line = `${String(n).padStart(6, '0')} ${'x'.repeat(993)}\n`;
        lines.push(line);
        await send(id, line);
      }
    };
    await write(0, 40);
    const killed = stack.killAgent();
    const during = write(40, 60);
    await killed;
    stack.restartAgent();
    await during;
    await write(60, 80);
    await until(() => reader.text.length >= 80 * 1001, LIMIT_MS, 'all of it to come back');
    expect(reader.text).toBe(lines.join(''));
    await rpc.sendSignal({ session: selector(id), signal: 9 });
    await reader.done;
  });

  test('continues after the gateway itself was killed: it is found where it runs', async () => {
    const id = randomUUID();
    const reader = start('echo before; while read line; do echo "got $line"; done', id);
    await reader.sees('before\n');
    await stack.killGateway();
    stack.restartGateway();
    await stack.ready();
    const again = await retried(
      () => Promise.resolve(connect(id)),
      (each) => each.pid !== 0,
    );
    await send(id, 'hello\n');
    await again.sees('got hello\n');
    expect(again.pid).toBe(reader.pid);
    await rpc.sendSignal({ session: selector(id), signal: 9 });
  });
});

/** Reopens until `holds`: the gateway may not know all of its sandboxes yet. */
async function retried(open: () => Promise<Reader>, holds: (reader: Reader) => boolean): Promise<Reader> {
  let reader = await open();
  let over = false;
  const watch = (): void =>
    void reader.done.then(
      () => (over = true),
      () => (over = true),
    );
  watch();
  await until(
    async () => {
      if (holds(reader)) return true;
      if (over) {
        over = false;
        reader = await open();
        watch();
      }
      return false;
    },
    LIMIT_MS,
    'the session to be found again',
  );
  return reader;
}

/** Resolves once no process of the sandbox has these words in its command line. */
async function gone(words: string): Promise<void> {
  const look = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '";
  await until(
    async () => {
      const reader = start(look, undefined, false);
      await reader.done;
      return !reader.text.includes(words);
    },
    LIMIT_MS,
    `${words} to be gone`,
  );
}
