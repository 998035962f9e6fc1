/** One part of the service as a child process: started, restarted when it dies, stopped in order. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { rotateLog } from './log-file.ts';

const RESTART_DELAY_MS = 500;
const MAX_RESTART_DELAY_MS = 10_000;
/** A part that lived this long before it died is restarted with the short delay. */
const STEADY_MS = 30_000;
/** Interval between two checks of its log's size. */
const LOG_LOOK_MS = 60_000;
const MAX_LAST_LINES = 8;

export interface ChildOptions {
  name: string;
  file: string;
  args: readonly string[];
  env: Record<string, string>;
  logFile: string;
  onRestart?: (message: string) => void;
  /** Called when it has exited by itself, not by a signal: whether a restart may succeed. Default: it may. */
  mayGoBetter?: () => boolean;
  /** It has a new process id. */
  onStart?: () => void;
}

export class Child {
  readonly name: string;
  readonly #options: ChildOptions;
  #process: ChildProcess | undefined;
  #stopping = false;
  #delayMs = RESTART_DELAY_MS;
  #timer: NodeJS.Timeout | undefined;
  #rotation: NodeJS.Timeout | undefined;
  /** How many times it has exited early since it last lived long enough to be steady. */
  failures = 0;
  /** It has exited, and is not restarted. */
  gaveUp = false;
  /** Where in its log the lines of its latest start begin. */
  #logStart = 0;

  constructor(options: ChildOptions) {
    this.name = options.name;
    this.#options = options;
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  get running(): boolean {
    return this.#process !== undefined && this.#process.exitCode === null && this.#process.signalCode === null;
  }

  start(): void {
    const { file, args, env, logFile, name } = this.#options;
    const startedAt = performance.now();
    rotateLog(logFile);
    this.#rotation ??= setInterval(() => rotateLog(logFile), LOG_LOOK_MS).unref();
    const log = openSync(logFile, 'a', 0o600);
    this.#logStart = fstatSync(log).size;
    // A process group of its own: a Ctrl-C at the terminal reaches only `up`, which stops its parts in order.
    const child = spawn(file, args, { env, stdio: ['ignore', log, log], detached: true });
    closeSync(log);
    this.#process = child;
    this.#options.onStart?.();
    child.on('error', (error) => this.#options.onRestart?.(`${name} cannot be started: ${error.message}`));
    child.on('exit', (code, signal) => {
      if (this.#stopping) return;
      const steady = performance.now() - startedAt > STEADY_MS;
      if (steady) this.#delayMs = RESTART_DELAY_MS;
      this.failures = steady ? 1 : this.failures + 1;
      this.gaveUp = signal === null && this.#options.mayGoBetter?.() === false;
      if (this.gaveUp) return;
      this.#options.onRestart?.(`${name} ended (${signal ?? `exit ${code}`}); starting it again, see ${logFile}`);
      this.#timer = setTimeout(() => this.start(), this.#delayMs);
      this.#delayMs = Math.min(this.#delayMs * 2, MAX_RESTART_DELAY_MS);
    });
  }

  /** The last lines of its latest start, for an error message; plain-text ones, if there are any. */
  lastWords(): string {
    const lines = this.#lines();
    const plain = lines.filter((line) => !line.startsWith('{'));
    return (plain.length > 0 ? plain : lines).slice(-MAX_LAST_LINES).join('\n') || '(it said nothing)';
  }

  #lines(): string[] {
    try {
      const log = readFileSync(this.#options.logFile).subarray(this.#logStart).toString('utf8');
      return log.split('\n').filter((line) => line.trim() !== '');
    } catch {
      return [];
    }
  }

  /** Asks it to exit; after the grace period it is killed. Resolves once it is gone. */
  async stop(graceMs: number, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#timer);
    clearInterval(this.#rotation);
    const child = this.#process;
    if (child === undefined || !this.running) return;
    const gone = once(child, 'exit');
    child.kill(signal);
    const timer = setTimeout(() => child.kill('SIGKILL'), graceMs);
    await gone;
    clearTimeout(timer);
  }
}
