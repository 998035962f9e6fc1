/**
 * A program that is started once and sent many requests, because starting a process blocks the event loop for
 * milliseconds. Requests and answers are lines.
 */
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import type { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { ServiceError } from '../../../src/protocol/errors.ts';
import { TOOL_ENVIRONMENT } from '../../run-tool.ts';

const MAX_WAITING = 4_096;
const MAX_LINES = 1_000;
/** How many programs a request is sent to if earlier requests keep it waiting. */
const MAX_ATTEMPTS = 2;

type Child = ChildProcessByStdio<Writable, Readable, null>;

interface Request {
  text: string;
  lines: string[];
  attempts: number;
  timer: NodeJS.Timeout | undefined;
  answer: PromiseWithResolvers<string[]>;
}

interface CoprocessOptions {
  /** Names the program in errors. */
  name: string;
  /** Reads requests, answers them in order, and exits at the end of its input. */
  command: readonly string[];
  /** For one request, including those queued before it. Starts over if one of them is not answered. */
  deadlineMs: number;
  /** Whether this is the last line of an answer. */
  isLast(line: string): boolean;
}

export class Coprocess {
  readonly #options: CoprocessOptions;
  #child: Child | undefined;
  #pending: Request[] = [];

  /** The program is started at the first request. */
  constructor(options: CoprocessOptions) {
    this.#options = options;
  }

  /**
   * Returns the lines of the answer, including the last one.
   * @throws ServiceError `rate_limited`, `deadline_exceeded`, or `internal` if the program exits. It is then unknown
   * whether the request took effect. The next request starts the program again.
   */
  async request(text: string): Promise<string[]> {
    if (this.#pending.length >= MAX_WAITING)
      throw new ServiceError('rate_limited', 'too many requests are waiting for one program');
    const answer = Promise.withResolvers<string[]>();
    const request: Request = { text, lines: [], attempts: 0, timer: undefined, answer };
    this.#pending.push(request);
    this.#send(request);
    return await answer.promise;
  }

  /** Kills the program and its children. Pending requests fail. */
  close(): void {
    const child = this.#child;
    this.#onClose(child);
    kill(child);
  }

  #send(request: Request): void {
    const { deadlineMs } = this.#options;
    request.attempts += 1;
    clearTimeout(request.timer);
    request.timer = setTimeout(() => this.#onTimeout(request), deadlineMs);
    try {
      (this.#child ??= this.#start()).stdin.write(`${request.text}\n`);
    } catch (error) {
      // No process can be started at all.
      this.#fail(request, new ServiceError('internal', `${this.#options.name} cannot be started`, { cause: error }));
    }
  }

  /**
   * Answers come in order, so none can be matched after a missing one: the program is killed. It has not begun with the
   * requests behind the first, so these can be sent to another.
   */
  #onTimeout(request: Request): void {
    const { name, deadlineMs } = this.#options;
    const child = this.#child;
    this.#child = undefined;
    kill(child);
    const others = [...this.#pending];
    for (const other of others) {
      if (other !== request && other.attempts < MAX_ATTEMPTS) this.#send(other);
      else this.#fail(other, new ServiceError('deadline_exceeded', `${name} did not end within ${deadlineMs} ms`));
    }
  }

  #fail(request: Request, error: ServiceError): void {
    this.#pending = this.#pending.filter((each) => each !== request);
    clearTimeout(request.timer);
    request.answer.reject(error);
  }

  #start(): Child {
    const [program = '', ...args] = this.#options.command;
    const child = spawn(program, args, {
      stdio: ['pipe', 'pipe', 'ignore'],
      // Its own process group: a terminal's Ctrl-C must not reach it, and its children can be killed with it.
      detached: true,
      env: TOOL_ENVIRONMENT,
    });
    child.on('error', () => this.#onClose(child));
    child.once('close', () => this.#onClose(child));
    child.stdin.on('error', () => undefined);
    createInterface({ input: child.stdout, crlfDelay: Infinity }).on('line', (line) => {
      if (child === this.#child) this.#onLine(line);
    });
    // It must not keep this process alive.
    child.unref();
    for (const pipe of [child.stdin, child.stdout]) (pipe as Socket).unref();
    return child;
  }

  #onLine(line: string): void {
    const first = this.#pending[0];
    if (first === undefined || first.lines.length >= MAX_LINES) return this.close();
    first.lines.push(line);
    if (!this.#options.isLast(line)) return;
    this.#pending.shift();
    clearTimeout(first.timer);
    first.answer.resolve(first.lines);
  }

  #onClose(child: Child | undefined): void {
    if (child !== this.#child) return;
    this.#child = undefined;
    for (const request of this.#pending) {
      // Its output may reveal details of the node: it is for the log.
      const cause = request.lines.length === 0 ? undefined : new Error(request.lines.join(' ').slice(0, 500));
      this.#fail(request, new ServiceError('internal', `${this.#options.name} has ended without an answer`, { cause }));
    }
  }
}

function kill(child: Child | undefined): void {
  if (child?.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // It has already exited.
  }
}
