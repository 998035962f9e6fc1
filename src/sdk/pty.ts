/** A terminal in a sandbox. */
import type { ExecExit, SignalName } from '../protocol/exec.ts';
import type { ExecHandle } from './exec/handle.ts';
import type { Command, ExecOptions } from './exec/options.ts';
import { PickingReader } from './exec/reader.ts';
import type { ExecOutputEvent } from './exec/result.ts';
import type { OptionNames } from './known-options.ts';
import type { Bytes } from './source.ts';

export interface OutputLost {
  /** Byte offsets in the terminal's output, the second exclusive. */
  from: number;
  to: number;
}

interface Notices {
  /** Called when output was discarded, between the chunks before and after it. Must not throw. */
  onOutputLost?: ((lost: OutputLost) => void) | undefined;
}

export interface PtyOptions
  extends Pick<ExecOptions, 'cwd' | 'env' | 'user' | 'signal' | 'detachedMs' | 'ringBytes' | 'id'>, Notices {
  cols?: number | undefined;
  rows?: number | undefined;
  /** Default: the sandbox's bash, or sh where there is none. */
  command?: Command | undefined;
  timeoutMs?: number | undefined;
}

export interface AttachPtyOptions extends Pick<ExecOptions, 'signal'>, Notices {
  /** The first byte of the output to receive; a `Pty`'s `offset` says how far its reader has come. */
  offset?: number | undefined;
}

export const PTY_OPTIONS: OptionNames<PtyOptions> = {
  cwd: true,
  env: true,
  user: true,
  signal: true,
  detachedMs: true,
  ringBytes: true,
  id: true,
  onOutputLost: true,
  cols: true,
  rows: true,
  command: true,
  timeoutMs: true,
};
export const ATTACH_PTY_OPTIONS: OptionNames<AttachPtyOptions> = { signal: true, onOutputLost: true, offset: true };

export const DEFAULT_COLS = 80;
export const DEFAULT_ROWS = 24;
export const LOGIN_SHELL = 'if command -v bash >/dev/null 2>&1; then exec bash -i; else exec sh -i; fi';

/** Iterate it for the terminal's output. It has one channel, to which both outputs of a program go. */
export class Pty implements AsyncIterable<Buffer>, AsyncDisposable {
  readonly #exec: ExecHandle<'bytes'>;
  readonly #notices: Notices;
  #offset: number;

  constructor(exec: ExecHandle<'bytes'>, options: Notices & { offset?: number | undefined } = {}) {
    this.#exec = exec;
    this.#notices = options;
    this.#offset = options.offset ?? 0;
  }

  /** For `sandbox.attachPty`. */
  get id(): string {
    return this.#exec.id;
  }

  /** How many bytes of output have been read or lost: where an `attachPty` continues. */
  get offset(): number {
    return this.#offset;
  }

  /** Resolves when the program runs. */
  get started(): Promise<unknown> {
    return this.#exec.started;
  }

  /** Sends keys, as a terminal does. Resolves when they have been sent. */
  write(data: Bytes): Promise<void> {
    return this.#exec.write(data);
  }

  resize(cols: number, rows: number): void {
    this.#exec.resize(cols, rows);
  }

  /**
   * INT, QUIT and TSTP go to the foreground process group, as the keys would send them; any other signal to the program
   * itself; with `all`, to everything that it started.
   */
  signal(signal: SignalName, options: { all?: boolean | undefined } = {}): void {
    this.#exec.signal(signal, options);
  }

  /** TERM, then KILL, to everything its program started. `exit` says how it ended. */
  kill(): void {
    this.#exec.kill();
  }

  /** Leaves the program running, for a while, for somebody to attach. Resolves once it has received all input. */
  detach(options: { deadlineMs?: number | undefined } = {}): Promise<void> {
    return this.#exec.detach(options);
  }

  /** `await using`: kills a program that has not ended, unless it was detached. Resolves once it has ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#exec[Symbol.asyncDispose]();
  }

  /**
   * How it ended. If nobody iterates when this is read, the program is unblocked: the first 256 KiB of output are kept
   * for a later reader, and the rest is lost.
   */
  get exit(): Promise<ExecExit> {
    this.#exec.unblock();
    return this.#exec.exit;
  }

  /**
   * Output as it arrives. The program is held back while the loop body runs; leaving the loop early kills it (`exit`
   * then rejects with `cancelled`). To stop reading without that, take the iterator and call its `next`.
   */
  [Symbol.asyncIterator](): AsyncGenerator<Buffer, undefined> {
    return new PickingReader(this.#exec[Symbol.asyncIterator](), (event) => this.#take(event));
  }

  #take(event: ExecOutputEvent<Buffer>): Buffer | undefined {
    if (event.type === 'stdout') {
      this.#offset += event.data.length;
      return event.data;
    }
    if (event.type === 'output_lost' && event.channel === 'stdout') {
      this.#offset = event.to;
      this.#notices.onOutputLost?.({ from: event.from, to: event.to });
    }
    return undefined;
  }
}
