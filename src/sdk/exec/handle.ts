/** A running command. Await it for its result, or iterate it for its output as it comes. */
import { asError, withDeadline } from '../../lib/deadline.ts';
import { SignalName, TerminalSize } from '../../protocol/exec.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { newExecId } from '../../protocol/ids.ts';
import { CommandFailedError } from '../errors.ts';
import { checkOptions, type OptionNames } from '../known-options.ts';
import { checkOwn, outputCap, type Command, type Encoding, type ExecOptions, type OutputOf } from './options.ts';
import { ExecOutput } from './output.ts';
import { OutputReader } from './reader.ts';
import type { ChannelName, Ended, ExecOutputEvent, ExecResult } from './result.ts';
import { readSource, type Bytes } from '../source.ts';
import { ExecRun, type ExecDeps } from './run.ts';
import { Stdin } from './stdin.ts';

const DETACH_DEADLINE_MS = 30_000;
const SIGNAL_OPTIONS: OptionNames<{ all?: boolean | undefined }> = { all: true };
const DETACH_OPTIONS: OptionNames<{ deadlineMs?: number | undefined }> = { deadlineMs: true };
const FROM_START: Readonly<Record<ChannelName, number>> = { stdout: 0, stderr: 0 };

/** How the SDK itself starts or attaches to a command, in addition to the caller's options. */
export interface HandleMode {
  /** Run it in a terminal of this size. */
  pty?: { cols: number; rows: number };
  /** Offsets of the first bytes to receive. Default: all of the output. */
  from?: Readonly<Record<ChannelName, number>>;
}

export class ExecHandle<E extends Encoding = 'utf8'>
  implements Promise<ExecResult<OutputOf<E>>>, AsyncIterable<ExecOutputEvent<OutputOf<E>>>, AsyncDisposable
{
  /** Id of this run. */
  readonly id: string;
  readonly #options: ExecOptions<E>;
  readonly #output: ExecOutput;
  readonly #run: ExecRun;
  readonly #stdin: Stdin | undefined;
  readonly #ended: Promise<Ended>;
  /** Resolves when the source of stdin has been read completely. */
  #fed: Promise<void> = Promise.resolve();
  /** Rejects with the reason when the caller aborts, or one of its callbacks fails. */
  readonly #stopped = Promise.withResolvers<never>();
  #over = false;
  #result: Promise<ExecResult<OutputOf<E>>> | undefined;

  /**
   * Starts the command, or attaches to the one with `options.id` if `command` is null.
   * @throws ServiceError `invalid_request`.
   */
  constructor(
    deps: ExecDeps,
    command: Command | null,
    options: ExecOptions<E> = {},
    { pty, from = FROM_START }: HandleMode = {},
  ) {
    checkOwn(options as ExecOptions);
    this.id = options.id ?? newExecId();
    this.#options = options;
    this.#output = new ExecOutput({
      bytes: options.encoding === 'bytes',
      lend: options.lend === true && options.encoding === 'bytes',
      maxBytes: outputCap(options as ExecOptions),
      from,
      onStdout: options.onStdout,
      onStderr: options.onStderr,
      onFailure: (error) => this.#abort(asError(error)),
    });
    this.#stdin = options.stdin === undefined ? undefined : new Stdin(command === null);
    this.#run = new ExecRun(deps, {
      id: this.id,
      command,
      options: options as ExecOptions,
      output: this.#output,
      stdin: this.#stdin,
      from,
      pty,
    });
    this.#stopped.promise.catch(() => undefined);
    this.#ended = this.#follow();
    this.#ended.catch(() => undefined);
    if (options.signal?.aborted) this.#abort(asError(options.signal.reason));
    else this.#run.start();
  }

  /** The result. The same promise each time. @throws CommandFailedError, ServiceError, the abort reason. */
  get result(): Promise<ExecResult<OutputOf<E>>> {
    if (this.#result === undefined) {
      this.#output.collect();
      this.#result = this.#collect();
    }
    return this.#result;
  }

  then<A = ExecResult<OutputOf<E>>, B = never>(
    onFulfilled?: ((result: ExecResult<OutputOf<E>>) => A | PromiseLike<A>) | null,
    onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.result.then(onFulfilled, onRejected);
  }

  catch<B = never>(
    onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<ExecResult<OutputOf<E>> | B> {
    return this.result.catch(onRejected);
  }

  finally(onFinally?: (() => void) | null): Promise<ExecResult<OutputOf<E>>> {
    return this.result.finally(onFinally);
  }

  get [Symbol.toStringTag](): string {
    return 'ExecHandle';
  }

  /**
   * Output as it comes, then the exit. While the loop body runs, the command is blocked once its output window is full.
   * Leaving the loop early kills the command. Concurrent loops share the events.
   */
  [Symbol.asyncIterator](): AsyncGenerator<ExecOutputEvent<OutputOf<E>>, undefined> {
    return new OutputReader(this.#output, () => {
      this.#abort(new ServiceError('cancelled', 'the reader of this command has left'));
    });
  }

  /**
   * How the command ended. Unlike awaiting the handle, this does not read its output: a command that writes more than
   * 256 KiB ends only once somebody reads it, or after `unblock` or `kill`.
   */
  get exit(): Promise<Ended['exit']> {
    return this.#ended.then(({ exit }) => exit);
  }

  /** Resolves when the command runs; where no WebSocket gets through, not before its end. */
  get started(): Promise<{ pid: number | null; queueMs: number }> {
    return this.#run.started;
  }

  /**
   * Writes to stdin. Resolves when the command has taken most of it, or has ended.
   * @throws ServiceError `invalid_request` without the option `stdin: true`, or after `closeStdin`; TypeError for what is
   *   neither text nor bytes.
   */
  write(data: Bytes): Promise<void> {
    if (this.#stdin === undefined) {
      return Promise.reject(new ServiceError('invalid_request', 'this command was started without stdin'));
    }
    return this.#stdin.write(data);
  }

  /** Ends stdin: the command reads end-of-file after what was written. */
  closeStdin(): void {
    this.#stdin?.finish();
  }

  /**
   * Sends a signal to the command's process group, or with `all` to everything it started.
   * @throws ServiceError `invalid_request` when there is no such signal; `not_supported` where no WebSocket gets through
   *   (the command fails with it when that shows only later); `rate_limited` when too many wait until it can be reached.
   */
  signal(signal: SignalName, options: { all?: boolean | undefined } = {}): void {
    checkOptions('signal', options, SIGNAL_OPTIONS);
    if (!SignalName.options.includes(signal)) {
      throw new ServiceError('invalid_request', `there is no signal ${signal}: ${SignalName.options.join(', ')}`);
    }
    this.#run.signal({ type: 'signal', signal, ...(options.all === undefined ? {} : { all: options.all }) });
  }

  /**
   * Lets the command run on although nobody reads its output. The first 256 KiB are kept for a later reader; the rest
   * is lost, which is reported by an `output_lost` event, or by `truncated` in a result.
   */
  unblock(): void {
    this.#output.unblock();
  }

  /**
   * Sends TERM, then KILL, to everything the command started, and unblocks it. The result says how it ended; it is
   * `cancelled` where no WebSocket gets through, and for a command that has not started and so never does.
   */
  kill(): void {
    this.#output.unblock();
    this.#run.kill();
  }

  /** Changes the size of the terminal. @throws ServiceError `invalid_request` for a size that no terminal has. */
  resize(cols: number, rows: number): void {
    if (!TerminalSize.safeParse({ cols, rows }).success) {
      throw new ServiceError('invalid_request', `a terminal cannot have ${cols} columns and ${rows} rows`);
    }
    this.#run.resize(cols, rows);
  }

  /**
   * Leaves the command running without this handle, which ends with `cancelled`; `sandbox.attach(id)` finds it again.
   * Resolves once the command runs and has received all the stdin given here. Output is discarded from now on.
   * @throws ServiceError why it never ran, or `deadline_exceeded` when it does not take its stdin in time (default 30
   * s), in which case the handle stays attached.
   */
  async detach(options: { deadlineMs?: number | undefined } = {}): Promise<void> {
    checkOptions('detach', options, DETACH_OPTIONS);
    const { deadlineMs = DETACH_DEADLINE_MS } = options;
    const endAt = performance.now() + deadlineMs;
    this.#run.requireDetach();
    this.#output.discard();
    await withDeadline({ deadlineMs, what: 'reading the source of stdin' }, () => this.#fed);
    await this.#run.detach(Math.max(0, endAt - performance.now()));
  }

  /** `await using`: kills a command that has not ended, unless it was let go of. Resolves once it has ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#over) return;
    this.#abort(new ServiceError('cancelled', 'this command went out of scope'));
    await this.#run.ended.catch(() => undefined);
  }

  #abort(reason: Error): void {
    this.#stopped.reject(reason);
    this.#output.discard();
    this.#output.end(reason);
    this.#run.abort(reason);
  }

  async #follow(): Promise<Ended> {
    const { signal } = this.#options;
    const onAbort = (): void => this.#abort(asError(signal?.reason));
    signal?.addEventListener('abort', onAbort, { once: true });
    this.#fed = this.#feed();
    try {
      const ended = await Promise.race([this.#run.ended, this.#stopped.promise]);
      this.#output.end({ type: 'exit', ...ended.exit });
      return ended;
    } catch (error) {
      this.#output.end(asError(error));
      throw error;
    } finally {
      this.#over = true;
      signal?.removeEventListener('abort', onAbort);
    }
  }

  /** Never rejects: a source that fails ends the command. */
  async #feed(): Promise<void> {
    const given = this.#options.stdin;
    const stdin = this.#stdin;
    if (stdin === undefined || given === undefined || given === true) return;
    try {
      const source = readSource(given);
      if (source instanceof Uint8Array) void stdin.write(source);
      else {
        // Over HTTP all of stdin is sent at once, and a source can be read only once.
        if (!(await this.#run.takesStdin)) return;
        for await (const chunk of source) {
          await stdin.write(chunk);
          if (stdin.gone) break;
        }
      }
      stdin.finish();
    } catch (error) {
      this.#abort(asError(error));
    }
  }

  async #collect(): Promise<ExecResult<OutputOf<E>>> {
    const { exit, queueMs } = await this.#ended;
    await Promise.race([this.#output.flushed(), this.#stopped.promise]);
    const stdout = this.#output.result('stdout', exit.stdoutBytes);
    const stderr = this.#output.result('stderr', exit.stderrBytes);
    const result: ExecResult<OutputOf<E>> = {
      execId: this.id,
      exitCode: exit.exitCode,
      signal: exit.signal,
      stdout: stdout.data as OutputOf<E>,
      stderr: stderr.data as OutputOf<E>,
      timedOut: exit.timedOut,
      oomKilled: exit.oomKilled,
      truncated: { stdout: stdout.bytes < exit.stdoutBytes, stderr: stderr.bytes < exit.stderrBytes },
      stdoutBytes: exit.stdoutBytes,
      stderrBytes: exit.stderrBytes,
      durationMs: exit.durationMs,
      queueMs,
    };
    if (this.#options.check && (exit.exitCode !== 0 || exit.timedOut))
      throw new CommandFailedError(result as ExecResult);
    return result;
  }
}
