/** Every door reports the same failure with the same code and message, each in its own form. */
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createMux, dialWs, type Mux } from '../../src/mux/index.ts';
import { ERRORS, ServiceError, type ErrorCode } from '../../src/protocol/errors.ts';
import type { Sandbox } from '../../src/sdk/index.ts';
import { cli } from '../helpers/cli.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';
import { FAILURES, GONE, MAKE, type Failing } from './failures.ts';

/** The exit code by which a script sees that the service failed, and not a command. */
const PLATFORM_FAILURE = 255;
const LIMIT_MS = 120_000;

interface Told {
  code: string;
  message: string;
}

let stack: TestStack;
let mux: Mux;
let sandbox: Sandbox;
let ended: Sandbox;
beforeAll(async () => {
  stack = await startStack({ pool: 2 });
  sandbox = await stack.client.sandboxes.create({ timeoutMs: 3_600_000 });
  await sandbox.exec(MAKE, { check: true });
  ended = await stack.client.sandboxes.create();
  await ended.delete();
  const transport = await dialWs(`${stack.url.replace('http', 'ws')}/v1/ws`, {
    subprotocol: 'millibox.v1',
    headers: { authorization: `Bearer ${stack.apiKey}` },
    deadlineMs: LIMIT_MS,
  });
  mux = createMux({ transport, role: 'dialler', hello: { generation: 1 }, onHello: () => undefined });
});
afterAll(async () => {
  mux?.close();
  await stack?.stop();
});

/** The status matches the code, and tells by itself whether to retry. */
async function overRest({ method, path, body }: NonNullable<Failing['rest']>): Promise<Told> {
  const json = typeof body === 'object';
  const answer = await request(`${stack.url}${path}`, {
    method: method as 'GET',
    headers: { authorization: `Bearer ${stack.apiKey}`, ...(json ? { 'content-type': 'application/json' } : {}) },
    body: json ? JSON.stringify(body) : (body ?? null),
  });
  const text = await answer.body.text();
  const { error } = JSON.parse(text) as { error: Told & { code: ErrorCode; retryable: boolean; requestId: string } };
  const { http, retryable } = ERRORS[error.code];
  expect({ status: answer.statusCode, retryable: error.retryable }).toEqual({ status: http, retryable });
  expect(error.requestId).toBe(answer.headers['x-request-id']);
  return error;
}

function overWebSocket(open: NonNullable<Failing['ws']>): Promise<Told> {
  return new Promise((resolve, reject) => {
    const stream = mux.open(open, {
      opened: () => {
        stream.reset(new ServiceError('cancelled'));
        reject(new Error('it was opened'));
      },
      data: (_channel, bytes) => stream.consume(bytes.length),
      closed: (error) => (error === null ? reject(new Error('it went well')) : resolve(error)),
    });
  });
}

async function overSdk(call: NonNullable<Failing['sdk']>, of: Sandbox): Promise<Told> {
  const error: unknown = await call(of, stack.client).then(
    () => new Error('it went well'),
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof ServiceError)) throw error;
  return error;
}

/** One line and perhaps a hint, nothing on stdout, and an exit code that no command has. */
async function overCli(args: NonNullable<Failing['cli']>): Promise<Told> {
  const { code, stdout, stderr } = await cli(stack, args);
  expect({ code, stdout: stdout.toString() }).toEqual({ code: PLATFORM_FAILURE, stdout: '' });
  const [, message = stderr, told = ''] = /^millibox: (.*) \(([a-z_]+)\)\n(?: {2}.*\n)?$/.exec(stderr) ?? [];
  return { code: told, message };
}

async function agree(failing: Failing, of: Sandbox): Promise<void> {
  const { rest, ws, sdk } = failing;
  const answers = await Promise.all([
    rest && overRest(rest),
    ws && overWebSocket(ws),
    sdk && overSdk(sdk, of),
    failing.cli && overCli(failing.cli),
  ]);
  const told = answers.filter((answer) => answer !== undefined).map(({ code, message }) => ({ code, message }));
  expect(told.map(({ code }) => code)).toEqual(told.map(() => failing.code));
  expect(told.map(({ message }) => place(message))).toEqual(told.map(() => place(told[0]?.message ?? '')));
}

/** Each form names the place of a mistake in the request in its own terms. */
const place = (message: string): string => message.replace(/^(?:query|body|open|path)\./, '');

describe('every door reports the same', () => {
  const named = FAILURES.map((failure) => [failure('').what, failure] as const);
  test.concurrent.each(named)('of %s', { timeout: LIMIT_MS }, (_what, failure) => agree(failure(sandbox.id), sandbox));

  const gone = GONE.map((failure) => [failure('sandbox_ended')('').what, failure] as const);
  test.concurrent.each(gone)('of %s in a sandbox that has ended', { timeout: LIMIT_MS }, (_what, failure) =>
    agree(failure('sandbox_ended')(ended.id), ended),
  );
  test.concurrent.each(gone)('of %s in a sandbox that never existed', { timeout: LIMIT_MS }, (_what, failure) => {
    const none = stack.client.sandboxes.at('sbx-none');
    return agree(failure('sandbox_not_found')(none.id), none);
  });
});
