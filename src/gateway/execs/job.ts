/**
 * Starting a command in the background. The gateway lets go of it as soon as it runs. A command with stdin is kept until its
 * end, since only then is it certain that all of stdin was read; after a cut, sending resumes where the node stopped.
 */
import { withDeadline, sleep } from '../../lib/deadline.ts';
import type { Json, MuxStream } from '../../mux/index.ts';
import { LOST } from '../../protocol/cuts.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { ExecOpened } from '../../protocol/exec.ts';
import { Channel } from '../../protocol/frames.ts';
import { Strays } from '../../protocol/strays.ts';
import type { Opener } from '../nodes/unary.ts';
import { sendBytes } from '../streams/send.ts';
import type { Program } from './program.ts';

export interface JobOptions {
  program: Program;
  locate(signal: AbortSignal): Promise<Opener>;
  /** How long to try again after a cut. */
  resumeMs: number;
  signal?: AbortSignal | undefined;
}

/**
 * From the sandbox having a node until the command runs. In between its image may have to be pulled, which the node bounds
 * itself; this is for a node that does not answer.
 */
const START_DEADLINE_MS = 3_600_000;
const PAUSE_MS = 100;

/** @throws ServiceError as refused; `interrupted` when it is unknown whether it runs. */
export async function startInBackground(options: JobOptions): Promise<void> {
  await new Start(options).begin();
}

class Start {
  readonly #options: JobOptions;
  readonly #never = new AbortController().signal;
  readonly #strays = new Strays();
  #runs = false;
  #ended = false;
  /** Offsets to attach at after a cut. The output is discarded, but it has to be received. */
  readonly #received = { stdout: 0, stderr: 0 };

  constructor(options: JobOptions) {
    this.#options = options;
  }

  async begin(): Promise<void> {
    await this.#try(this.#options.signal ?? this.#never);
  }

  /** Retries until the command runs or is found again. An id runs only once, so resending it is safe. */
  async #try(signal: AbortSignal): Promise<void> {
    let sent = this.#runs;
    for (const until = performance.now() + this.#options.resumeMs; ;) {
      try {
        const node = await this.#options.locate(signal);
        sent = true;
        return await this.#start(node, signal);
      } catch (thrown) {
        const error = ServiceError.from(thrown);
        const cut = sent && LOST.has(error.code);
        if (!cut || performance.now() > until) {
          throw cut ? new ServiceError('interrupted', undefined, { cause: error }) : error;
        }
        await sleep(PAUSE_MS, signal);
      }
    }
  }

  /** A command whose start nobody waits for any more does not run. @throws ServiceError `interrupted`, or the signal's */
  async #start(node: Opener, signal: AbortSignal): Promise<void> {
    const { stream, opened } = this.#open(node);
    try {
      await withDeadline({ signal, deadlineMs: START_DEADLINE_MS, what: 'starting the command' }, () => opened);
    } catch (error) {
      if (!this.#runs && !stream.closed) {
        stream.urgent({ type: 'kill' });
        stream.reset(new ServiceError('cancelled'));
        if (!signal.aborted)
          throw new ServiceError('interrupted', 'the node did not start the command', { cause: error });
      }
      throw error;
    }
  }

  #open(node: Opener): { stream: MuxStream; opened: Promise<void> } {
    const { script, stdin } = this.#options.program;
    const opened = Promise.withResolvers<void>();
    this.#strays.asked();
    const letGo = (): void => stream.reset(new ServiceError('cancelled'));
    const stream: MuxStream = node.open(this.#request(), {
      opened: (answer) => {
        this.#runs = true;
        this.#strays.answered();
        opened.resolve();
        if (stdin === null) queueMicrotask(letGo);
        else
          this.#feed(stream, stdin, ExecOpened.parse(answer)).catch((error: unknown) =>
            stream.reset(ServiceError.from(error)),
          );
      },
      data: (channel, bytes) => {
        this.#received[channel === Channel.STDERR ? 'stderr' : 'stdout'] += bytes.length;
        stream.consume(bytes.length);
      },
      event: (message) => {
        const { type, channel, to } = message;
        if (type === 'output_lost' && typeof to === 'number') {
          this.#received[channel === 'stderr' ? 'stderr' : 'stdout'] = to;
        }
        if (type !== 'exit') return;
        this.#ended = true;
        letGo();
      },
      closed: (error) => {
        opened.reject(error ?? new ServiceError('interrupted'));
        const cut = error !== null && (this.#strays.ended(error) || LOST.has(error.code));
        if (this.#runs && stdin !== null && cut && !this.#ended) this.#resume();
      },
    });
    if (script !== null && !this.#runs) {
      sendScript(stream, script).catch((error: unknown) => stream.reset(ServiceError.from(error)));
    }
    return { stream, opened: opened.promise };
  }

  #request(): Json {
    const { open } = this.#options.program;
    if (!this.#runs) return open;
    return { op: 'attach', sandbox: open.sandbox, id: open.id, ...this.#received };
  }

  /** Sends the rest of stdin. The answer says how much the node has; nothing if it has just started the command. */
  async #feed(stream: MuxStream, stdin: Buffer, { stdinBytes }: ExecOpened): Promise<void> {
    await sendBytes(stream, Channel.STDIN, stdin.subarray(stdinBytes));
    stream.fin(Channel.STDIN);
  }

  /** Nobody waits for this: if the command cannot be found any more, its state tells what became of it. */
  #resume(): void {
    this.#try(this.#never).catch(() => undefined);
  }
}

async function sendScript(stream: MuxStream, script: Buffer): Promise<void> {
  await sendBytes(stream, Channel.SCRIPT, script);
  stream.fin(Channel.SCRIPT);
}
