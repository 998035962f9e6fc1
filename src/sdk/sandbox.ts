/** A sandbox, from the moment it is requested. Commands may be sent before it runs: they are queued. */
import { orAbort, withDeadline } from '../lib/deadline.ts';
import { ServiceError } from '../protocol/errors.ts';
import { endOf } from '../protocol/sandbox.ts';
import { SandboxInfo, hasEnded, read } from './answer.ts';
import type { Connection } from './connection.ts';
import { ExecHandle } from './exec/handle.ts';
import {
  ATTACH_OPTIONS,
  EXEC_OPTIONS,
  attachPoint,
  checkCommand,
  type AttachOptions,
  type Command,
  type Encoding,
  type ExecOptions,
} from './exec/options.ts';
import { Files } from './files.ts';
import type { CallOptions, HttpClient, Query } from './http.ts';
import { Jobs, type Job, type JobOptions } from './jobs.ts';
import { CALL_OPTIONS, checkId, checkOptions, type OptionNames } from './known-options.ts';
import { Ports } from './ports.ts';
import { idOf } from './sandbox-id.ts';
import {
  ATTACH_PTY_OPTIONS,
  DEFAULT_COLS,
  DEFAULT_ROWS,
  LOGIN_SHELL,
  PTY_OPTIONS,
  Pty,
  type AttachPtyOptions,
  type PtyOptions,
} from './pty.ts';

export type { SandboxInfo };

export interface SandboxDeps {
  http: HttpClient;
  connection: Connection;
  /** How long to try to reattach to a command after a cut. */
  resumeMs: number;
}

/** `background: false` is the default. */
const RUN_OPTIONS: OptionNames<ExecOptions & { background?: boolean | undefined }> = {
  ...EXEC_OPTIONS,
  background: true,
};

/** One long poll. */
const WAIT_MS = 25_000;
const READY_DEADLINE_MS = 600_000;

export class Sandbox implements AsyncDisposable {
  readonly #deps: SandboxDeps;
  /** Null when it is known by its id alone. */
  readonly #created: Promise<SandboxInfo> | null;
  readonly #id: string | Promise<string>;
  #info: SandboxInfo | null = null;
  #deleted = false;
  readonly files: Files;
  readonly ports: Ports;
  /** Commands in the background. */
  readonly jobs: Jobs;

  /** @param known its info, a promise of that, or its id */
  constructor(deps: SandboxDeps, known: SandboxInfo | Promise<SandboxInfo> | string) {
    this.#deps = deps;
    if (typeof known === 'string') {
      this.#created = null;
      this.#id = known;
    } else {
      this.#created = Promise.resolve(known).then((info) => (this.#info ??= info));
      // Users of the sandbox get the error of a failed create; nobody has to handle it.
      this.#created.catch(() => undefined);
      if (!(known instanceof Promise)) this.#info = known;
      this.#id = this.#info?.id ?? this.#created.then((info) => info.id);
    }
    const sandbox = this.#id;
    if (typeof sandbox !== 'string') sandbox.catch(() => undefined);
    this.files = new Files({ streams: deps.connection, http: deps.http, sandbox });
    this.ports = new Ports({ http: deps.http, streams: deps.connection, sandbox });
    this.jobs = new Jobs({ http: deps.http, sandbox });
  }

  /** @throws TypeError before the service has answered the create: await the handle first. */
  get id(): string {
    const id = this.#info?.id ?? this.#id;
    if (typeof id !== 'string') throw new TypeError('the sandbox has no id yet: await it first');
    return id;
  }

  /** Its last known state. @throws TypeError as `id` does, and for a handle from `at` before a `refresh`. */
  get info(): SandboxInfo {
    if (this.#info === null) throw new TypeError('nothing is known about the sandbox yet: await it, or call refresh()');
    return this.#info;
  }

  /** Resolves when the service has accepted the create. @throws its ServiceError. */
  async created(options: CallOptions = {}): Promise<SandboxInfo> {
    checkOptions('created', options, CALL_OPTIONS);
    if (this.#created === null) return await this.#get(options);
    const created = this.#created;
    return await withDeadline({ ...options, what: 'the create' }, () => created);
  }

  /**
   * Resolves when it runs. Not needed before an exec.
   * @throws ServiceError `sandbox_ended` when it ended instead (`details.reason`, and `details.errorCode` if an error
   *   kept it from starting), `deadline_exceeded` (10 minutes unless given).
   */
  async ready(options: CallOptions = {}): Promise<SandboxInfo> {
    checkOptions('ready', options, CALL_OPTIONS);
    const endAt = performance.now() + (options.deadlineMs ?? READY_DEADLINE_MS);
    const { signal } = options;
    let info = await orAbort(signal, this.#created ?? this.#get({ signal }));
    while (info.status !== 'RUNNING') {
      if (hasEnded(info)) throw ended(info);
      const left = Math.ceil(endAt - performance.now());
      if (left <= 0) throw new ServiceError('deadline_exceeded', 'the sandbox is not running yet');
      const waitMs = Math.min(WAIT_MS, left);
      info = await this.#get({ waitMs, signal: options.signal, deadlineMs: waitMs + 30_000 });
    }
    return info;
  }

  /** Asks the service for its current state. */
  async refresh(options: CallOptions = {}): Promise<SandboxInfo> {
    checkOptions('refresh', options, CALL_OPTIONS);
    return await this.#get(options);
  }

  /** Ends it, with all its files and commands. Deleting an ended sandbox is not an error. */
  async delete(options: CallOptions = {}): Promise<SandboxInfo> {
    checkOptions('delete', options, CALL_OPTIONS);
    const info = this.#learn(await deleteSandbox(this.#deps.http, await idOf(this.#id, options), options));
    this.#deleted = true;
    return info;
  }

  /** Sets its remaining lifetime, counted from now. */
  async extend(timeoutMs: number, options: CallOptions = {}): Promise<SandboxInfo> {
    checkOptions('extend', options, CALL_OPTIONS);
    return this.#learn(await this.#call('POST', '/extend', options, { timeoutMs }));
  }

  /** Restarts the idle timeout, as every call does. Useful while only a job is running. */
  async keepalive(options: CallOptions = {}): Promise<SandboxInfo> {
    checkOptions('keepalive', options, CALL_OPTIONS);
    return this.#learn(await this.#call('POST', '/keepalive', options));
  }

  /**
   * Runs a command: a string with `sh -c`, an array without a shell. Starts at once; await the handle for the result or
   * iterate it for the output. A command that nobody awaits or iterates blocks once 256 KiB of output are waiting.
   * @throws ServiceError `invalid_request`
   */
  exec<E extends Encoding = 'utf8'>(
    command: Command,
    options?: ExecOptions<E> & { background?: false | undefined },
  ): ExecHandle<E>;
  /** In the background: the same as `jobs.start`. */
  exec(command: Command, options: JobOptions & { background: true }): Promise<Job>;
  exec<E extends Encoding>(
    command: Command,
    options: (ExecOptions<E> & { background?: false | undefined }) | (JobOptions & { background: true }) = {},
  ): ExecHandle<E> | Promise<Job> {
    if (options?.background === true) {
      const { background: _, ...rest } = options;
      return this.jobs.start(command, rest);
    }
    checkOptions('exec', options, RUN_OPTIONS);
    if (typeof (options.background ?? false) !== 'boolean') {
      throw new ServiceError('invalid_request', 'background must be true or false');
    }
    return new ExecHandle(this.#execDeps(), checkCommand(command), options as ExecOptions<E>);
  }

  /**
   * Attaches to a command by its id: its output from the first byte that is still kept, or from the offsets `stdout`
   * and `stderr`. The previous reader ends with `cancelled`.
   */
  attach<E extends Encoding = 'utf8'>(id: string, options: AttachOptions<E> = {}): ExecHandle<E> {
    checkOptions('attach', options, ATTACH_OPTIONS);
    const { stdout, stderr, ...rest } = options;
    const given = { ...rest, id: checkId('attach', id) } as ExecOptions<E>;
    return new ExecHandle(this.#execDeps(), null, given, { from: attachPoint({ stdout, stderr }) });
  }

  /** A terminal. Its program keeps running for a while when this client is cut off. */
  pty(options: PtyOptions = {}): Pty {
    checkOptions('pty', options, PTY_OPTIONS);
    const { cols = DEFAULT_COLS, rows = DEFAULT_ROWS, command = LOGIN_SHELL, onOutputLost: _, ...rest } = options;
    const env = { TERM: 'xterm-256color', ...rest.env };
    const given: ExecOptions<'bytes'> = { ...rest, env, stdin: true, encoding: 'bytes' };
    return new Pty(new ExecHandle(this.#execDeps(), command, given, { pty: { cols, rows } }), options);
  }

  /** Attaches to a running terminal: replays the output that is still kept, or the output after `offset`. */
  attachPty(id: string, options: AttachPtyOptions = {}): Pty {
    checkOptions('attachPty', options, ATTACH_PTY_OPTIONS);
    const { offset = 0, signal } = options;
    const given: AttachOptions<'bytes'> = { stdin: true, encoding: 'bytes', stdout: offset };
    return new Pty(this.attach<'bytes'>(id, signal === undefined ? given : { ...given, signal }), options);
  }

  /** `await using`: deletes it, whether or not its create succeeded. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.#created;
    } catch {
      return;
    }
    if (this.#deleted) return;
    try {
      await this.delete();
    } catch (error) {
      if (!(error instanceof ServiceError && (error.code === 'sandbox_not_found' || error.code === 'sandbox_ended'))) {
        throw error;
      }
    }
  }

  toJSON(): SandboxInfo | null {
    return this.#info;
  }

  #execDeps(): SandboxDeps & { sandbox: string | Promise<string> } {
    return { ...this.#deps, sandbox: this.#info?.id ?? this.#id };
  }

  async #get(options: CallOptions & { waitMs?: number }): Promise<SandboxInfo> {
    const { waitMs, ...rest } = options;
    return this.#learn(await this.#call('GET', '', rest, undefined, [['waitMs', waitMs]]));
  }

  async #call(
    method: 'GET' | 'POST',
    below: string,
    options: CallOptions,
    body?: unknown,
    query?: Query,
  ): Promise<unknown> {
    const path = `/v1/sandboxes/${encodeURIComponent(await idOf(this.#id, options))}${below}`;
    return await this.#deps.http.json({ method, path, body, query, idempotent: true, ...options });
  }

  #learn(answer: unknown): SandboxInfo {
    return (this.#info = read(SandboxInfo, answer));
  }
}

/**
 * A sandbox that was just requested. It is usable as a handle at once; awaiting it resolves to the handle once the
 * service has accepted the create.
 */
export class NewSandbox extends Sandbox implements Promise<Sandbox> {
  readonly #plain: Promise<Sandbox>;

  constructor(deps: SandboxDeps, created: Promise<SandboxInfo>) {
    super(deps, created);
    this.#plain = created.then((info) => new Sandbox(deps, info));
    this.#plain.catch(() => undefined);
  }

  then<A = Sandbox, B = never>(
    onFulfilled?: ((sandbox: Sandbox) => A | PromiseLike<A>) | null,
    onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#plain.then(onFulfilled, onRejected);
  }

  catch<B = never>(onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null): Promise<Sandbox | B> {
    return this.#plain.catch(onRejected);
  }

  finally(onFinally?: (() => void) | null): Promise<Sandbox> {
    return this.#plain.finally(onFinally);
  }

  get [Symbol.toStringTag](): string {
    return 'NewSandbox';
  }
}

/** The answer. @throws ServiceError */
export function deleteSandbox(http: HttpClient, id: string, options: CallOptions): Promise<unknown> {
  const path = `/v1/sandboxes/${encodeURIComponent(id)}`;
  return http.json({ method: 'DELETE', path, open: { op: 'delete', sandbox: id }, ...options });
}

function ended(info: SandboxInfo): ServiceError {
  const why = info.message ?? info.reason ?? info.status;
  return new ServiceError('sandbox_ended', `the sandbox has ended: ${why}`, { details: endOf(info) });
}
