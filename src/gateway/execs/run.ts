/** One blocking exec, from its OPEN to its result. */
import type { ExecExit, ExecOpened, ExecResult } from '../../protocol/exec.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { Channel } from '../../protocol/frames.ts';
import type { Opener } from '../nodes/unary.ts';
import { Capture } from './capture.ts';
import { CommandStream } from './command-stream.ts';
import type { Program } from './program.ts';

export interface RunOptions {
  program: Program;
  /** See `CommandStreamOptions`. */
  locate(signal: AbortSignal): Promise<Opener>;
  maxOutputBytes: number;
  encoding: 'utf8' | 'base64';
  /** The caller went away: the command is killed. */
  signal?: AbortSignal | undefined;
  /** How long to look for the command after its link was cut. */
  resumeMs: number;
  /** Leave the exit with the node, which keeps it for an hour, in case the caller asks again. */
  keepExit: boolean;
}

/** Resolves with the result, or rejects with a ServiceError. Never makes up an exit. */
export function runExec(options: RunOptions): Promise<ExecResult> {
  if (options.signal?.aborted) return Promise.reject(new ServiceError('cancelled'));
  return new Run(options).result;
}

class Run {
  readonly #options: RunOptions;
  readonly #done = Promise.withResolvers<ExecResult>();
  readonly #askedAt = performance.now();
  readonly #stdout: Capture;
  readonly #stderr: Capture;
  readonly #command: CommandStream;
  #locatedMs: number | null = null;
  #queueMs: number | null = null;
  #cancelled = false;
  #limit: NodeJS.Timeout | undefined;

  constructor(options: RunOptions) {
    const { program, maxOutputBytes, resumeMs, keepExit, signal } = options;
    this.#options = options;
    this.#stdout = new Capture(maxOutputBytes);
    this.#stderr = new Capture(maxOutputBytes);
    this.#command = new CommandStream({
      program,
      resumeMs,
      keepExit,
      // One that is derived from a caller's key is not.
      freshId: !keepExit,
      locate: (signal) => this.#locate(signal),
      listener: {
        opened: (answer) => this.#onOpened(answer),
        output: (channel, bytes, stream) => {
          if (channel === Channel.STDERR) this.#stderr.push(bytes);
          else this.#stdout.push(bytes);
          stream.consume(bytes.length);
        },
        lost: (channel, to) => (channel === 'stderr' ? this.#stderr : this.#stdout).lost(to),
        exited: (exit) => this.#onExit(exit),
        failed: (error) => {
          this.#settle();
          this.#done.reject(error);
        },
      },
    });
    signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  get result(): Promise<ExecResult> {
    return this.#done.promise;
  }

  readonly #onAbort = (): void => {
    this.#cancelled = true;
    this.#command.kill();
  };

  async #locate(signal: AbortSignal): Promise<Opener> {
    const node = await this.#options.locate(signal);
    this.#locatedMs ??= performance.now() - this.#askedAt;
    return node;
  }

  #onOpened({ queueMs }: ExecOpened): void {
    if (this.#queueMs !== null) return;
    this.#queueMs = (this.#locatedMs ?? 0) + queueMs;
    const { limitMs } = this.#options.program;
    if (limitMs === null) return;
    const late = new ServiceError('interrupted', 'the node did not say how the command ended');
    this.#limit = setTimeout(() => this.#command.giveUp(late), limitMs);
  }

  #onExit(exit: ExecExit): void {
    this.#settle();
    if (this.#cancelled) return this.#done.reject(new ServiceError('cancelled'));
    const { program, encoding } = this.#options;
    this.#done.resolve({
      execId: program.open.id ?? '',
      exitCode: exit.exitCode,
      signal: exit.signal,
      stdout: this.#stdout.takeText(encoding),
      stderr: this.#stderr.takeText(encoding),
      timedOut: exit.timedOut,
      oomKilled: exit.oomKilled,
      truncated: { stdout: this.#stdout.truncated, stderr: this.#stderr.truncated },
      stdoutBytes: exit.stdoutBytes,
      stderrBytes: exit.stderrBytes,
      durationMs: exit.durationMs,
      queueMs: Math.round((this.#queueMs ?? 0) * 1000) / 1000,
    });
  }

  #settle(): void {
    clearTimeout(this.#limit);
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
  }
}
