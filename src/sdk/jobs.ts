/** Commands of a sandbox that run with nobody attached: listed, polled, read by window, ended. */
import * as z from 'zod';
import { sleep } from '../lib/deadline.ts';
import { ExecState, type SignalName } from '../protocol/exec.ts';
import { ServiceError } from '../protocol/errors.ts';
import { newExecId } from '../protocol/ids.ts';
import { read } from './answer.ts';
import type { CallOptions, HttpClient, Query } from './http.ts';
import type { Command, ExecOptions } from './exec/options.ts';
import { followJob, readLog, type FollowOptions, type LogEvent, type ReadOptions } from './job-log.ts';
import type { ChannelName, ExecOutputEvent } from './exec/result.ts';

export type { ExecState, FollowOptions, LogEvent, ReadOptions };
export type JobOptions = Pick<ExecOptions, 'cwd' | 'env' | 'user' | 'shell' | 'timeoutMs' | 'killGraceMs' | 'id'> &
  CallOptions;

const Started = z.object({ execId: z.string() });
const List = z.object({ execs: z.array(ExecState) });
const WAIT_MS = 25_000;
const MIN_PAUSE_MS = 50;

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
    const { id = newExecId(), signal, deadlineMs, ...rest } = options;
    const answer = await this.#call('POST', '/exec', {
      signal,
      deadlineMs,
      headers: { 'idempotency-key': id },
      body: { ...(typeof command === 'string' ? { command } : { argv: command }), ...rest, background: true },
    });
    return new Job(this, read(Started, answer).execId);
  }

  /** All commands of the sandbox that run or whose exit is still kept, or those with these ids in one call. */
  async list(options: CallOptions & { ids?: readonly string[] } = {}): Promise<ExecState[]> {
    const { ids, ...call } = options;
    const query: Query = (ids ?? []).map((id) => ['id', id] as const);
    return read(List, await this.#call('GET', '/execs', { ...call, query })).execs;
  }

  /** A job by its id. Asks nothing. */
  get(id: string): Job {
    return new Job(this, id);
  }

  /** For `Job`. */
  async of(id: string, method: 'GET' | 'POST', below: string, call: JobCall = {}): Promise<unknown> {
    return await this.#call(method, `/execs/${encodeURIComponent(id)}${below}`, call);
  }

  async #call(method: 'GET' | 'POST', below: string, call: JobCall): Promise<unknown> {
    const path = `/v1/sandboxes/${encodeURIComponent(await this.#deps.sandbox)}${below}`;
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
    return read(ExecState, await this.#jobs.of(this.id, 'GET', '', options));
  }

  /** Resolves when it has ended. @throws ServiceError `deadline_exceeded` */
  async wait(options: CallOptions = {}): Promise<ExecState & { exit: NonNullable<ExecState['exit']> }> {
    const endAt = performance.now() + (options.deadlineMs ?? Number.POSITIVE_INFINITY);
    for (;;) {
      const left = endAt - performance.now();
      if (left <= 0) throw new ServiceError('deadline_exceeded', 'the job still runs');
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
      // A server that does not hold the question is not asked without a pause.
      if (performance.now() - askedAt < MIN_PAUSE_MS) await sleep(MIN_PAUSE_MS, options.signal);
    }
  }

  /**
   * A window of what it has written, at most 64 MiB; `read` has no such limit. A negative offset counts from the end.
   * With `waitMs`, one at the end of what a running job has written waits that long for more.
   * @throws ServiceError `output_lost` with `{ from, to }` in details when the first byte is not kept any more.
   */
  async output(
    channel: ChannelName,
    options: CallOptions & { offset?: number; length?: number; waitMs?: number } = {},
  ): Promise<Buffer> {
    const { offset, length, waitMs, ...call } = options;
    const query: Query = [
      ['channel', channel],
      ['offset', offset],
      ['length', length],
      ['waitMs', waitMs],
    ];
    return (await this.#jobs.of(this.id, 'GET', '/output', { ...call, query, raw: true })) as Buffer;
  }

  /** What one channel holds, of any size, in pieces; what is not kept any more is an event in its place. */
  read(channel: ChannelName, options: ReadOptions = {}): AsyncGenerator<LogEvent> {
    return readLog(this, channel, options);
  }

  /** What it writes, as it comes, then how it ended. To leave the loop leaves the job alone. */
  follow(options: FollowOptions = {}): AsyncGenerator<ExecOutputEvent<Buffer>> {
    return followJob(this, options);
  }

  /** To its process group, or with `all` to everything it started. */
  async signal(signal: SignalName, options: CallOptions & { all?: boolean } = {}): Promise<void> {
    const { all, ...call } = options;
    await this.#jobs.of(this.id, 'POST', '/signal', {
      ...call,
      body: { signal, ...(all === undefined ? {} : { all }) },
    });
  }

  /** Ends it and everything it started. */
  async kill(options: CallOptions = {}): Promise<void> {
    await this.signal('KILL', { ...options, all: true });
  }
}
