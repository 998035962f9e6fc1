/** A terminal on this machine that runs a shell script, created by util-linux's `script`. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { allowedEnvironment } from './config.ts';
import { until } from './until.ts';

const LIMIT_MS = 60_000;

export class HostTerminal implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #closed: Promise<unknown>;
  #text = '';

  /** @param size of its window */
  constructor(script: string, env: Record<string, string>, size = { cols: 100, rows: 30 }) {
    const text = `tty; stty cols ${size.cols} rows ${size.rows}; ${script}`;
    this.#child = spawn('script', ['-qefc', text, '/dev/null'], {
      env: { ...allowedEnvironment(), TERM: 'xterm', ...env, SHELL: '/bin/sh' },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#child.stdout?.setEncoding('utf8').on('data', (chunk: string) => (this.#text += chunk));
    this.#child.stdin?.on('error', () => undefined);
    this.#closed = once(this.#child, 'close');
  }

  /** Everything it has printed. */
  get text(): string {
    return this.#text;
  }

  /** Resolves with the match, once it is printed. */
  async shows(pattern: RegExp): Promise<RegExpExecArray> {
    await until(() => pattern.test(this.#text), LIMIT_MS, `${String(pattern)} to be shown`).catch((error: unknown) => {
      throw new Error(`${String(error)}; so far: ${JSON.stringify(this.#text.slice(-2_000))}`, { cause: error });
    });
    return pattern.exec(this.#text) as RegExpExecArray;
  }

  type(keys: string): void {
    this.#child.stdin?.write(keys);
  }

  /** Resizes the window. */
  async resize(cols: number, rows: number): Promise<void> {
    const [tty] = await this.shows(/\/dev\/pts\/\d+/);
    await once(spawn('stty', ['-F', tty, 'cols', String(cols), 'rows', String(rows)], { stdio: 'inherit' }), 'close');
  }

  /** Closes the window: programs in it get SIGHUP. */
  async close(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#closed;
  }

  /** Resolves when the script has ended. */
  async ended(): Promise<void> {
    await this.#closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
