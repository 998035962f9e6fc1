/** Commands of a sandbox that run with nobody attached: list, poll, read by window, end. */
import * as z from 'zod';
import { sleep } from '../lib/deadline.ts';
import { ExecList, ExecState, type SignalName } from '../protocol/exec.ts';
import { ServiceError } from '../protocol/errors.ts';
import { newExecId } from '../protocol/ids.ts';
import { read } from './answer.ts';
import type { CallOptions, HttpClient, Query } from './http.ts';
import type { Command, ExecOptions } from './exec/options.ts';
import { CALL_OPTIONS, checkId, checkOptions, type OptionNames } from './known-options.ts';
import { idOf } from './sandbox-id.ts';
import { readPiece, toBase64, type Bytes } from './source.ts';
import { checkVariables } from './variables.ts';
import { followJob, readLog, type FollowOptions, type LogEvent, type ReadOptions } from './job-log.ts';
import type { ChannelName, ExecOutputEvent } from './exec/result.ts';

export type { ExecState, FollowOptions, LogEvent, ReadOptions };
export interface JobOptions
  extends Pick<ExecOptions, 'cwd' | 'env' | 'user' | 'shell' | 'timeoutMs' | 'killGraceMs' | 'id'>, CallOptions {
  /** All of it, at once. */
  stdin?: Bytes | undefined;
}
type SignalOptions = CallOptions & { all?: boolean | undefined };
type WindowOptions = CallOptions & {
  offset?: number | undefined;
  length?: number | undefined;
  waitMs?: number | undefined;
};

const JOB_OPTIONS: OptionNames<JobOptions> = {
  ...CALL_OPTIONS,
  cwd: true,
  env: true,
  user: true,
  shell: true,
  timeoutMs: true,
  killGraceMs: true,
  id: true,
  stdin: true,
};
const LIST_OPTIONS: OptionNames<CallOptions & { ids?: readonly string[] | undefined }> = { ...CALL_OPTIONS, ids: true };
const SIGNAL_OPTIONS: OptionNames<SignalOptions> = { ...CALL_OPTIONS, all: true };
const WINDOW_OPTIONS: OptionNames<WindowOptions> = { ...CALL_OPTIONS, offset: true, length: true, waitMs: true };
const READ_OPTIONS: OptionNames<ReadOptions> = { offset: true, length: true, follow: true, signal: true };
const FOLLOW_OPTIONS: OptionNames<FollowOptions> = { stdout: true, stderr: true, signal: true };

const Started = z.object({ execId: z.string() });
const WAIT_MS = 25_000;
const MIN_PAUSE_MS = 50;
/** The maximum of one call. */
const MAX_IDS = 100;

export interface JobDeps {
  http: HttpClient;
  sandbox: string | Promise<string>;
}

export class Jobs {
  readonly #deps: JobDeps;

  constructor(deps: JobDeps) {
    this.#deps = deps;
  }

  /** Starts a command that goes on by itself. It is there when this resolves. */
  async start(command: Command, options: JobOptions = {}): Promise<Job> {
    checkOptions('a job', options, JOB_OPTIONS);
    checkVariables('env', options.env);
    const { id = newExecId(), stdin, signal, deadlineMs, ...rest } = options;
    const input = stdin === undefined ? {} : { stdin: toBase64(readPiece(stdin)) };
    const answer = await this.#call('POST', '/exec', {
      signal,
      deadlineMs,
      headers: { 'idempotency-key': id },
      body: {
        ...(typeof command === 'string' ? { command } : { argv: command }),
        ...rest,
        ...input,
        encoding: 'base64',
        background: true,
      },
    });
    return new Job(this, read(Started, answer).execId);
  }

  /**
   * The sandbox's running commands and those whose exit is still kept, as many as fit in one answer (about three
   * thousand), or those with the given ids, up to a hundred per call. Unknown ids are left out.
   */
  async list(options: CallOptions & { ids?: readonly string[] | undefined } = {}): Promise<ExecState[]> {
    checkOptions('jobs.list', options, LIST_OPTIONS);
    const { ids, ...call } = options;
    if (ids === undefined) return await this.#list([], call);
    const found: ExecState[] = [];
    for (let at = 0; at < ids.length; at += MAX_IDS) {
      found.push(...(await this.#list(ids.slice(at, at + MAX_IDS), call)));
    }
    return found;
  }

  /** A job by its id. Makes no request. */
  get(id: string): Job {
    return new Job(this, checkId('jobs.get', id));
  }

  /** For `Job`. */
  async of(id: string, method: 'GET' | 'POST', below: string, call: JobCall = {}): Promise<unknown> {
    return await this.#call(method, `/execs/${encodeURIComponent(id)}${below}`, call);
  }

  async #list(ids: readonly string[], call: CallOptions): Promise<ExecState[]> {
    const query: Query = ids.map((id) => ['id', id] as const);
    return read(ExecList, await this.#call('GET', '/execs', { ...call, query })).execs;
  }

  async #call(method: 'GET' | 'POST', below: string, call: JobCall): Promise<unknown> {
    const path = `/v1/sandboxes/${encodeURIComponent(await idOf(this.#deps.sandbox, call))}${below}`;
    const { raw, ...rest } = call;
    const whole = { method, path, idempotent: true, ...rest };
    return raw ? await this.#deps.http.bytes(whole) : await this.#deps.http.json(whole);
  }
}

interface JobCall extends CallOptions {
  query?: Query;
  body?: unknown;
  headers?: Record<string, string>;
  raw?: boolean;
}

export class Job {
  readonly id: string;
  readonly #jobs: Jobs;

  constructor(jobs: Jobs, id: string) {
    this.id = id;
    this.#jobs = jobs;
  }

  /** @throws ServiceError `exec_not_found` */
  async state(options: CallOptions = {}): Promise<ExecState> {
    checkOptions('state', options, CALL_OPTIONS);
    return read(ExecState, await this.#jobs.of(this.id, 'GET', '', options));
  }

  /** Resolves when it has ended. @throws ServiceError `deadline_exceeded` */
  async wait(options: CallOptions = {}): Promise<ExecState & { exit: NonNullable<ExecState['exit']> }> {
    checkOptions('wait', options, CALL_OPTIONS);
    const endAt = performance.now() + (options.deadlineMs ?? Number.POSITIVE_INFINITY);
    for (;;) {
      const left = endAt - performance.now();
      if (left <= 0) throw new ServiceError('deadline_exceeded', 'the job is still running');
      const waitMs = Math.ceil(Math.min(WAIT_MS, left));
      const askedAt = performance.now();
      const state = read(
        ExecState,
        await this.#jobs.of(this.id, 'GET', '', {
          signal: options.signal,
          deadlineMs: waitMs + 30_000,
          query: [['waitMs', waitMs]],
        }),
      );
      if (state.exit !== null) return { ...state, exit: state.exit };
      // A server that does not hold the request is not polled without a pause.
      if (performance.now() - askedAt < MIN_PAUSE_MS) await sleep(MIN_PAUSE_MS, options.signal);
    }
  }

  /**
   * A window of the output, at most 64 MiB; `read` has no such limit. A negative offset counts from the end. With
   * `waitMs`, a window at the end of a running job's output waits that long for more.
   * @throws ServiceError `output_lost` with `{ from, to }` in `details` when the first byte is no longer kept.
   */
  async output(channel: ChannelName, options: WindowOptions = {}): Promise<Buffer> {
    checkOptions('output', options, WINDOW_OPTIONS);
    const { offset, length, waitMs, ...call } = options;
    const query: Query = [
      ['channel', channel],
      ['offset', offset],
      ['length', length],
      ['waitMs', waitMs],
    ];
    return (await this.#jobs.of(this.id, 'GET', '/output', { ...call, query, raw: true })) as Buffer;
  }

  /** The output of one channel, of any size, in chunks; an event stands in for output that is no longer kept. */
  read(channel: ChannelName, options: ReadOptions = {}): AsyncGenerator<LogEvent> {
    checkOptions('read', options, READ_OPTIONS);
    return readLog(this, channel, options);
  }

  /** Output as it arrives, then the exit. Leaving the loop does not affect the job. */
  follow(options: FollowOptions = {}): AsyncGenerator<ExecOutputEvent<Buffer>> {
    checkOptions('follow', options, FOLLOW_OPTIONS);
    return followJob(this, options);
  }

  /** Signals its process group or, with `all`, everything it started. */
  async signal(signal: SignalName, options: SignalOptions = {}): Promise<void> {
    checkOptions('signal', options, SIGNAL_OPTIONS);
    const { all, ...call } = options;
    await this.#jobs.of(this.id, 'POST', '/signal', {
      ...call,
      body: { signal, ...(all === undefined ? {} : { all }) },
    });
  }

  /** Ends it and everything it started. */
  async kill(options: CallOptions = {}): Promise<void> {
    checkOptions('kill', options, CALL_OPTIONS);
    await this.signal('KILL', { ...options, all: true });
  }
}
