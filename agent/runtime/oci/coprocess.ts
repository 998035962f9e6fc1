/**
 * A program that is started once and asked many times, a line or more at a time: to start a process stops everything else
 * here for milliseconds.
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
  /** Reads questions, answers them in order, and ends at the end of its input. */
  command: readonly string[];
  /** For one question, with all that were asked before it. */
  deadlineMs: number;
  /** Whether this line is the last one of an answer. */
  isLast(line: string): boolean;
}

export class Coprocess {
  readonly #options: CoprocessOptions;
  #child: Child | undefined;
  #asked: Question[] = [];

  /** Starts nothing before the first question. */
  constructor(options: CoprocessOptions) {
    this.#options = options;
  }

  /**
   * The lines of the answer, the last one included.
   * @throws ServiceError `rate_limited`, `deadline_exceeded`, or `internal` when the program ends. The next question starts
   * another; what became of this one is not known.
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
      // Answers come in order: without this one, none can be told from another.
      if (this.#asked.includes(asked)) this.close();
      throw error;
    }
  }

  /** Ends the program with all that it has started. What was asked fails. */
  close(): void {
    const child = this.#child;
    this.#gone(child);
    if (child?.pid === undefined) return;
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch {
      // Gone already.
    }
  }

  #start(): Child {
    const [program = '', ...args] = this.#options.command;
    const child = spawn(program, args, {
      stdio: ['pipe', 'pipe', 'ignore'],
      // A group of its own: a terminal's Ctrl-C is for us, and what the program starts ends with it.
      detached: true,
      env: TOOL_ENVIRONMENT,
    });
    child.on('error', () => this.#gone(child));
    child.once('close', () => this.#gone(child));
    child.stdin.on('error', () => undefined);
    createInterface({ input: child.stdout, crlfDelay: Infinity }).on('line', (line) => {
      if (child === this.#child) this.#heard(line);
    });
    // It keeps nobody alive that has nothing else to do.
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
