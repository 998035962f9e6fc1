/**
 * A program that is started once and asked many times, because starting a process blocks the event loop for
 * milliseconds. Questions and answers are lines.
 */
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import type { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { withDeadline } from '../../../src/lib/deadline.ts';
import { ServiceError } from '../../../src/protocol/errors.ts';
import { TOOL_ENVIRONMENT } from '../../images/run-tool.ts';

const MAX_WAITING = 4_096;
const MAX_LINES = 1_000;

type Child = ChildProcessByStdio<Writable, Readable, null>;

interface Question {
  lines: string[];
  answer: PromiseWithResolvers<string[]>;
}

interface CoprocessOptions {
  /** For errors. */
  name: string;
  /** Reads questions, answers them in order, and exits at the end of its input. */
  command: readonly string[];
  /** For one question, including those queued before it. */
  deadlineMs: number;
  /** Whether this line is the last one of an answer. */
  isLast(line: string): boolean;
}

export class Coprocess {
  readonly #options: CoprocessOptions;
  #child: Child | undefined;
  #asked: Question[] = [];

  /** The program is started at the first question. */
  constructor(options: CoprocessOptions) {
    this.#options = options;
  }

  /**
   * The lines of the answer, including the last one.
   * @throws ServiceError `rate_limited`, `deadline_exceeded`, or `internal` if the program exits. Whether the question
   * had an effect is then unknown. The next question starts the program again.
   */
  async ask(question: string): Promise<string[]> {
    if (this.#asked.length >= MAX_WAITING) throw new ServiceError('rate_limited', 'too much waits for one program');
    const asked: Question = { lines: [], answer: Promise.withResolvers() };
    this.#asked.push(asked);
    const { name, deadlineMs } = this.#options;
    try {
      (this.#child ??= this.#start()).stdin.write(`${question}\n`);
      return await withDeadline({ deadlineMs, what: name }, () => asked.answer.promise);
    } catch (error) {
      // Answers come in order, so after a missing one the rest cannot be matched.
      if (this.#asked.includes(asked)) this.close();
      throw error;
    }
  }

  /** Kills the program and its children. Open questions fail. */
  close(): void {
    const child = this.#child;
    this.#gone(child);
    if (child?.pid === undefined) return;
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch {
      // It has exited already.
    }
  }

  #start(): Child {
    const [program = '', ...args] = this.#options.command;
    const child = spawn(program, args, {
      stdio: ['pipe', 'pipe', 'ignore'],
      // A process group of its own: a terminal's Ctrl-C must not reach it, and its children can be killed with it.
      detached: true,
      env: TOOL_ENVIRONMENT,
    });
    child.on('error', () => this.#gone(child));
    child.once('close', () => this.#gone(child));
    child.stdin.on('error', () => undefined);
    createInterface({ input: child.stdout, crlfDelay: Infinity }).on('line', (line) => {
      if (child === this.#child) this.#heard(line);
    });
    // It must not keep this process running.
    child.unref();
    for (const pipe of [child.stdin, child.stdout]) (pipe as Socket).unref();
    return child;
  }

  #heard(line: string): void {
    const first = this.#asked[0];
    if (first === undefined || first.lines.length >= MAX_LINES) return this.close();
    first.lines.push(line);
    if (!this.#options.isLast(line)) return;
    this.#asked.shift();
    first.answer.resolve(first.lines);
  }

  #gone(child: Child | undefined): void {
    if (child !== this.#child) return;
    this.#child = undefined;
    const asked = this.#asked.splice(0);
    for (const { answer, lines } of asked) {
      const said = lines.length === 0 ? '' : `: ${lines.join(' ').slice(0, 500)}`;
      answer.reject(new ServiceError('internal', `${this.#options.name} has ended without an answer${said}`));
      answer.promise.catch(() => undefined);
    }
  }
}
