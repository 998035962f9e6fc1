/**
 * Starting a command in the background. The gateway lets go of it as soon as it runs. A command with stdin is kept until its
 * end, since only then is it certain that all of stdin was read.
 */
import { ServiceError } from '../../protocol/errors.ts';
import type { Opener } from '../nodes/unary.ts';
import { CommandStream } from './command-stream.ts';
import type { Program } from './program.ts';

export interface JobOptions {
  program: Program;
  /** See `CommandStreamOptions`. */
  locate(signal: AbortSignal): Promise<Opener>;
  /** How long to try again after a cut. */
  resumeMs: number;
  /** The caller went away: a command that has not started does not start. */
  signal?: AbortSignal | undefined;
}

/**
 * From the sandbox having a node until the command runs. In between its image may have to be pulled, which the node bounds
 * itself; this is for a node that does not answer.
 */
const START_DEADLINE_MS = 3_600_000;

/** @throws ServiceError as refused; `interrupted` when it is unknown whether it runs. */
export async function startInBackground(options: JobOptions): Promise<void> {
  const { signal } = options;
  signal?.throwIfAborted();
  const start = new Start(options);
  const gone = (): void => start.callOff(ServiceError.from(signal?.reason));
  signal?.addEventListener('abort', gone, { once: true });
  try {
    await start.started;
  } finally {
    signal?.removeEventListener('abort', gone);
  }
}

class Start {
  readonly #options: JobOptions;
  readonly #started = Promise.withResolvers<void>();
  readonly #command: CommandStream;
  #deadline: NodeJS.Timeout | undefined;

  constructor(options: JobOptions) {
    this.#options = options;
    const { program, resumeMs } = options;
    this.#command = new CommandStream({
      program,
      resumeMs,
      // Its state tells how it ended to whoever asks.
      keepExit: true,
      locate: (signal) => this.#locate(signal),
      listener: {
        opened: () => this.#onOpened(),
        // The node keeps it.
        output: (_channel, bytes, stream) => stream.consume(bytes.length),
        exited: () => this.#settle(),
        failed: (error) => this.#settle(error),
      },
    });
  }

  get started(): Promise<void> {
    return this.#started.promise;
  }

  /** A command whose start nobody waits for any more does not run. */
  callOff(reason: ServiceError): void {
    this.#settle(reason);
    this.#command.kill();
  }

  async #locate(signal: AbortSignal): Promise<Opener> {
    const node = await this.#options.locate(signal);
    this.#deadline ??= setTimeout(() => this.callOff(notStarted()), START_DEADLINE_MS).unref();
    return node;
  }

  #onOpened(): void {
    this.#settle();
    if (this.#options.program.stdin === null) this.#command.letGo();
  }

  #settle(error?: ServiceError): void {
    clearTimeout(this.#deadline);
    if (error === undefined) this.#started.resolve();
    else this.#started.reject(error);
  }
}

const notStarted = (): ServiceError => new ServiceError('interrupted', 'the node did not start the command');
