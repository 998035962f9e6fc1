/** One process of a test's service: a gateway or an agent from the build. It can be killed and restarted. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { until } from './until.ts';

export const START_LIMIT_MS = 120_000;
const STOP_LIMIT_MS = 120_000;
/** Lines of a log shown in the message of a failed test. */
const LAST_LINES = 25;

export interface PartOptions {
  name: string;
  /** The script to run. */
  main: string;
  env: Record<string, string>;
  /** Where its output goes. */
  log: string;
}

export class ServicePart {
  readonly name: string;
  readonly #main: string;
  readonly #log: string;
  env: Record<string, string>;
  #process: ChildProcess | undefined;

  constructor({ name, main, env, log }: PartOptions) {
    this.name = name;
    this.#main = main;
    this.env = env;
    this.#log = log;
  }

  /** 0 before the first start. */
  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  /** False before the first start too. */
  get running(): boolean {
    return this.#process !== undefined && isRunning(this.#process);
  }

  /** Starts it, for the first time or again. */
  start(): void {
    const log = openSync(this.#log, 'a');
    const stdio = ['ignore', log, log] as const;
    this.#process = spawn(process.execPath, [this.#main], { env: this.env, cwd: '/', stdio: [...stdio] });
    closeSync(log);
  }

  /** Resolves once it is gone. */
  async end(signal: NodeJS.Signals): Promise<void> {
    if (this.#process !== undefined) await end(this.#process, signal);
  }

  /** Starts a replacement, and ends the first process once the replacement has logged `text`. */
  async succeed(text: string): Promise<void> {
    const before = this.#process;
    const said = (): number => readFileSync(this.#log, 'utf8').split(text).length;
    const count = said();
    this.start();
    await until(() => said() > count, START_LIMIT_MS, `the successor of ${this.name} to say "${text}"`);
    if (before !== undefined) await end(before, 'SIGTERM');
  }

  /** Null while it runs, before its first start, and if a signal ended it. */
  get exitCode(): number | null {
    return this.#process?.exitCode ?? null;
  }

  /** @throws if it exited by itself. */
  checkAlive(): void {
    const code = this.exitCode;
    if (code !== null) throw new Error(`${this.name} ended with ${code}`);
  }

  /** Its latest output, for the message of a failed test. */
  lastWords(): string {
    const text = existsSync(this.#log) ? readFileSync(this.#log, 'utf8') : '';
    return `--- ${this.name}\n${text.split('\n').slice(-LAST_LINES).join('\n')}`;
  }
}

const isRunning = (child: ChildProcess): boolean => child.exitCode === null && child.signalCode === null;

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (!isRunning(child)) return;
  const gone = once(child, 'exit');
  child.kill(signal);
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_LIMIT_MS);
  await gone;
  clearTimeout(timer);
}
