/**
 * One run of a command: over the WebSocket or, where that is blocked, as one HTTP call, which can do less. What it
 * cannot do is refused, never ignored.
 */
import type { ExecCommand } from '../../protocol/exec.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { isMadeExecId } from '../../protocol/ids.ts';
import { NoWebSocket, type Connection } from '../connection.ts';
import { needsWebSocket } from '../errors.ts';
import type { HttpClient } from '../http.ts';
import { prepare, type Command, type ExecOptions } from './options.ts';
import { execOverHttp } from './over-http.ts';
import type { ExecOutput } from './output.ts';
import type { ChannelName, Ended } from './result.ts';
import { ExecSession } from './session.ts';
import type { Stdin } from './stdin.ts';

export interface ExecDeps {
  http: HttpClient;
  connection: Connection;
  /** A promise while the sandbox is being created. */
  sandbox: string | Promise<string>;
  resumeMs: number;
}

export interface RunOptions {
  id: string;
  /** Null: the command with this id is already running. */
  command: Command | null;
  options: ExecOptions;
  output: ExecOutput;
  stdin: Stdin | undefined;
  /** Offsets of the first bytes to receive. */
  from: Readonly<Record<ChannelName, number>>;
  /** Run it in a terminal of this size. */
  pty: { cols: number; rows: number } | undefined;
}

export class ExecRun {
  readonly #deps: ExecDeps;
  readonly #options: RunOptions;
  readonly #session: ExecSession;
  readonly #httpStop = new AbortController();
  /** Why it goes over HTTP, once it does. */
  #noWebSocket: NoWebSocket | null = null;
  /** The operation requested of it that HTTP cannot do. */
  #beyondHttp: string | undefined;
  /** Resolves with the exit, or rejects when it cannot be known. */
  readonly ended: Promise<Ended>;

  /** Nothing is sent before `start`. @throws ServiceError `invalid_request` */
  constructor(deps: ExecDeps, options: RunOptions) {
    const { command, pty, id } = options;
    const prepared = command === null ? { program: null, script: undefined } : prepare(command, options.options);
    if (pty !== undefined && prepared.program !== null) prepared.program.pty = pty;
    this.#deps = deps;
    this.#options = options;
    this.#session = new ExecSession({
      ...prepared,
      connection: deps.connection,
      sandbox: deps.sandbox,
      id,
      output: options.output,
      from: options.from,
      stdin: options.stdin,
      keepExit: !isMadeExecId(id),
      resumeMs: deps.resumeMs,
    });
    if (command === null) this.#beyondHttp = 'to attach to a command';
    else if (pty !== undefined) this.#beyondHttp = 'a terminal';
    else if (options.options.stdin === true) this.#beyondHttp = 'to write to stdin';
    this.ended = this.#overEither();
    this.ended.catch(() => undefined);
  }

  start(): void {
    this.#session.start();
  }

  /** Resolves when the command runs. Over HTTP that is unknown before its end. */
  get started(): Promise<{ pid: number | null; queueMs: number }> {
    const started = this.#session.started.catch(async (error: unknown) => {
      if (!(error instanceof NoWebSocket)) throw error;
      return { pid: null, queueMs: (await this.ended).queueMs };
    });
    started.catch(() => undefined);
    return started;
  }

  /** Resolves when it is known whether stdin is written as it arrives: over HTTP all of it is sent at once. */
  get takesStdin(): Promise<boolean> {
    return this.#session.started.then(
      () => true,
      () => false,
    );
  }

  /** @throws ServiceError `not_supported` over HTTP */
  signal(command: Extract<ExecCommand, { type: 'signal' }>): void {
    this.#requireWebSocket('to signal a command');
    this.#session.command(command);
  }

  resize(cols: number, rows: number): void {
    this.#session.command({ type: 'resize', cols, rows });
  }

  /** Ends everything the command started. Over HTTP its exit is then unknown. */
  kill(): void {
    this.#session.command({ type: 'kill' });
    this.#httpStop.abort(new ServiceError('cancelled', 'killed; without a WebSocket it is not known how it ended'));
  }

  /** As `kill`; it ends with `reason` if no exit arrives. */
  abort(reason: Error): void {
    this.#httpStop.abort(reason);
    this.#session.kill(reason);
  }

  /** @throws ServiceError `not_supported` over HTTP */
  requireDetach(): void {
    this.#requireWebSocket('to detach from a command');
  }

  /** Leaves the command running once it has received all of its stdin. @throws ServiceError why it does not run */
  async detach(deadlineMs: number): Promise<void> {
    await this.#session.detach(deadlineMs);
  }

  async #overEither(): Promise<Ended> {
    try {
      return await this.#session.ended;
    } catch (error) {
      if (!(error instanceof NoWebSocket)) throw error;
      if (this.#beyondHttp !== undefined) throw needsWebSocket(this.#beyondHttp, error);
      this.#noWebSocket = error;
      return await this.#overHttp(error);
    }
  }

  async #overHttp(why: NoWebSocket): Promise<Ended> {
    const { id, command, options, output } = this.#options;
    return await execOverHttp({
      http: this.#deps.http,
      sandbox: await this.#deps.sandbox,
      id,
      command: command as Command,
      options,
      output,
      signal: this.#httpStop.signal,
      why,
    });
  }

  #requireWebSocket(what: string): void {
    if (this.#noWebSocket !== null) throw needsWebSocket(what, this.#noWebSocket);
    this.#beyondHttp ??= what;
  }
}
