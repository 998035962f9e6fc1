/** The native REST API, as `curl` would use it. */
import { Agent, request } from 'undici';
import { ERRORS, isErrorCode } from '../../../src/protocol/errors.ts';
import type { TestStack } from '../../helpers/stack.ts';
import { until } from '../../helpers/until.ts';
import {
  DoorError,
  type BytesOutcome,
  type Command,
  type Door,
  type JobDoor,
  type JobState,
  type Outcome,
  type RunOptions,
  type Running,
} from '../door.ts';

const WAIT_MS = 60_000;

interface Answer {
  status: number;
  bytes: Buffer;
}

export class RestDoor implements Door {
  readonly name = 'REST';
  readonly lacks = {
    live: 'an HTTP answer comes when the command has ended',
    attach: 'the output of a command in the background is read by window',
  };
  readonly hurry = 200;
  readonly #stack: TestStack;
  readonly #agent = new Agent({ connections: 256, headersTimeout: 0, bodyTimeout: 0 });

  constructor(stack: TestStack) {
    this.#stack = stack;
  }

  async run(sandbox: string, command: Command, options: RunOptions = {}): Promise<Outcome> {
    const stdin = options.stdin?.toString();
    return (await this.#exec(sandbox, command, options, stdin === undefined ? {} : { stdin })) as Outcome;
  }

  async runBytes(sandbox: string, command: Command, options: RunOptions = {}): Promise<BytesOutcome> {
    const stdin = options.stdin === undefined ? {} : { stdin: Buffer.from(options.stdin).toString('base64') };
    const result = (await this.#exec(sandbox, command, options, { ...stdin, encoding: 'base64' })) as Outcome;
    return {
      exitCode: result.exitCode,
      stdout: Buffer.from(result.stdout, 'base64'),
      stderr: Buffer.from(result.stderr, 'base64'),
    };
  }

  async start(sandbox: string, command: Command): Promise<Running> {
    const id = await this.jobs.start(sandbox, command);
    const text = async (): Promise<string> => (await this.jobs.output(sandbox, id, 'stdout')).toString();
    return {
      saw: (what) => until(async () => (await text()).includes(what), WAIT_MS, `${what} in the output`),
      signal: (signal) => this.#signal(sandbox, id, { signal }),
      kill: () => this.jobs.kill(sandbox, id),
      ended: async () => {
        const { exit } = await this.#state(sandbox, id, WAIT_MS);
        if (exit === null) throw new Error('the command did not end');
        return { exitCode: exit.exitCode, signal: exit.signal, stdout: await text() };
      },
    };
  }

  async abandon(sandbox: string, command: string): Promise<void> {
    const gone = new AbortController();
    const answer = this.#call('POST', `/v1/sandboxes/${sandbox}/exec`, { command }, {}, gone.signal);
    answer.catch(() => undefined);
    await until(() => this.#somethingRuns(sandbox), WAIT_MS, 'the command to run');
    gone.abort();
  }

  readonly jobs: JobDoor = {
    start: async (sandbox, command) => {
      const { execId } = (await this.#exec(sandbox, command, {}, { background: true })) as { execId: string };
      return execId;
    },
    state: async (sandbox, id): Promise<JobState> => {
      const { state, exit } = await this.#state(sandbox, id, 0);
      return { state, exitCode: exit?.exitCode ?? null };
    },
    output: async (sandbox, id, channel, tail) => {
      const offset = tail === undefined ? '' : `&offset=${-tail}`;
      const path = `/v1/sandboxes/${sandbox}/execs/${id}/output?channel=${channel}${offset}`;
      return (await this.#call('GET', path)).bytes;
    },
    kill: (sandbox, id) => this.#signal(sandbox, id, { signal: 'KILL', all: true }),
  };

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent.destroy();
  }

  async #exec(sandbox: string, command: Command, options: RunOptions, more: object): Promise<unknown> {
    const { stdin: _stdin, key, ...fields } = options;
    const body = { ...(typeof command === 'string' ? { command } : { argv: command }), ...fields, ...more };
    const headers: Record<string, string> = key === undefined ? {} : { 'idempotency-key': key };
    const { bytes } = await this.#call('POST', `/v1/sandboxes/${sandbox}/exec`, body, headers);
    return JSON.parse(bytes.toString()) as unknown;
  }

  async #state(
    sandbox: string,
    id: string,
    waitMs: number,
  ): Promise<{ state: 'running' | 'exited'; exit: Outcome | null }> {
    const { bytes } = await this.#call('GET', `/v1/sandboxes/${sandbox}/execs/${id}?waitMs=${waitMs}`);
    return JSON.parse(bytes.toString()) as { state: 'running' | 'exited'; exit: Outcome | null };
  }

  async #somethingRuns(sandbox: string): Promise<boolean> {
    const { bytes } = await this.#call('GET', `/v1/sandboxes/${sandbox}/execs`);
    return (JSON.parse(bytes.toString()) as { execs: { state: string }[] }).execs.some(
      ({ state }) => state === 'running',
    );
  }

  async #signal(sandbox: string, id: string, body: object): Promise<void> {
    await this.#call('POST', `/v1/sandboxes/${sandbox}/execs/${id}/signal`, body);
  }

  async #call(
    method: 'GET' | 'POST',
    path: string,
    body?: object,
    headers: Record<string, string> = {},
    signal?: AbortSignal,
  ): Promise<Answer> {
    const response = await request(`${this.#stack.url}${path}`, {
      dispatcher: this.#agent,
      method,
      headers: {
        authorization: `Bearer ${this.#stack.apiKey}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      body: body === undefined ? null : JSON.stringify(body),
      ...(signal === undefined ? {} : { signal }),
    });
    const answer = { status: response.statusCode, bytes: Buffer.from(await response.body.arrayBuffer()) };
    if (answer.status >= 400) throw failure(answer);
    return answer;
  }
}

/** Code and status of a refusal must agree with the one table. */
function failure({ status, bytes }: Answer): Error {
  const { error } = JSON.parse(bytes.toString()) as { error: { code: string; message: string; requestId: string } };
  if (!isErrorCode(error.code) || ERRORS[error.code].http !== status || error.requestId === '') {
    return new Error(`an answer ${status} that does not fit its code: ${bytes.toString()}`);
  }
  return new DoorError(error.code, error.message);
}
