/** A terminal in a sandbox. */
import type { ExecHandle } from './exec/handle.ts';
import type { Command, ExecOptions } from './exec/options.ts';
import type { ExecExit } from '../protocol/exec.ts';

export interface PtyOptions extends Pick<
  ExecOptions,
  'cwd' | 'env' | 'user' | 'signal' | 'detachedMs' | 'ringBytes' | 'id'
> {
  cols?: number;
  rows?: number;
  /** Default: the sandbox's bash, or sh where there is none. */
  command?: Command;
  timeoutMs?: number;
}

export const DEFAULT_COLS = 80;
export const DEFAULT_ROWS = 24;
export const LOGIN_SHELL = 'if command -v bash >/dev/null 2>&1; then exec bash -i; else exec sh -i; fi';

/** Iterate it for what the terminal shows. It has one channel; both outputs of a program go there. */
export class Pty implements AsyncIterable<Buffer> {
  readonly #exec: ExecHandle<'bytes'>;

  constructor(exec: ExecHandle<'bytes'>) {
    this.#exec = exec;
  }

  /** To find it again with `sandbox.attachPty`. */
  get id(): string {
    return this.#exec.id;
  }

  /** Resolves when the program runs. */
  get started(): Promise<unknown> {
    return this.#exec.started;
  }

  /** Keys, as a terminal sends them. Resolves when they are on their way. */
  write(data: string | Uint8Array): Promise<void> {
    return this.#exec.write(data);
  }

  resize(cols: number, rows: number): void {
    this.#exec.resize(cols, rows);
  }

  kill(): void {
    this.#exec.kill();
  }

  /** Leaves the program running, for a while, for somebody to attach. Resolves once it has got all that was typed. */
  detach(options: { deadlineMs?: number } = {}): Promise<void> {
    return this.#exec.detach(options);
  }

  /** How it ended. A terminal that nobody iterates blocks its program when a window is full. */
  get exit(): Promise<ExecExit> {
    return this.#exec.exit;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    for await (const event of this.#exec) if (event.type === 'stdout') yield event.data;
  }
}
