/** One generator process, as seen by its parent. */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { withDeadline } from '../../../src/lib/deadline.ts';
import { environment } from '../../config.ts';
import type { RecordingJson } from '../generator/recording.ts';
import type { Order, Plan, Progress, Usage, Message } from '../generator/plan.ts';

const PROGRAM = join(import.meta.dirname, '../generator/main.ts');
const END_LIMIT_MS = 5_000;

export class GeneratorProcess {
  readonly name: string;
  readonly #child: ChildProcess;
  #onProgress: (progress: Progress) => void = () => undefined;
  /** Waits for its next message. */
  #waiting: PromiseWithResolvers<Exclude<Message, { type: 'progress' }>> | undefined;
  #gone: Error | undefined;

  constructor(name: string) {
    this.name = name;
    this.#child = fork(PROGRAM, [], { env: environment(), stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    this.#child.on('message', (word: Message) => {
      if (word.type === 'progress') this.#onProgress(word.progress);
      else if (word.type === 'failed') this.#waiting?.reject(new Error(`${name} failed: ${word.message}`));
      else this.#waiting?.resolve(word);
    });
    const lost = (why: string): void => {
      this.#gone = new Error(`${name} ${why}`);
      this.#waiting?.reject(this.#gone);
    };
    this.#child.on('error', (error) => lost(`cannot be reached: ${error.message}`));
    this.#child.on('exit', (code, signal) => lost(`ended (${signal ?? code})`));
  }

  /** Resolves when it is ready to begin. */
  async prepare(plan: Plan, limitMs: number): Promise<void> {
    await this.#ask({ type: 'prepare', plan }, limitMs, 'preparing');
  }

  /** Begins at `atMs` (`Date.now()`), and resolves with its results. */
  async run(
    atMs: number,
    limitMs: number,
    onProgress: (progress: Progress) => void,
  ): Promise<{ recording: RecordingJson; usage: Usage }> {
    this.#onProgress = onProgress;
    const word = await this.#ask({ type: 'go', atMs }, limitMs, 'the run');
    if (word.type !== 'done') throw new Error(`${this.name} said ${word.type} at the end of a run`);
    return word;
  }

  async end(): Promise<void> {
    if (this.#gone !== undefined) return;
    const exit = once(this.#child, 'exit');
    this.#child.send({ type: 'end' } satisfies Order);
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), END_LIMIT_MS);
    await exit;
    clearTimeout(timer);
  }

  async #ask(order: Order, limitMs: number, what: string): Promise<Exclude<Message, { type: 'progress' }>> {
    if (this.#gone !== undefined) throw this.#gone;
    const waiting = Promise.withResolvers<Exclude<Message, { type: 'progress' }>>();
    this.#waiting = waiting;
    this.#child.send(order);
    return await withDeadline({ deadlineMs: limitMs, what: `${this.name}: ${what}` }, () => waiting.promise);
  }
}
