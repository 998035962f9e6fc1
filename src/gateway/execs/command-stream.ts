/**
 * The gateway's stream to one command, across as many links to its node as it takes. After a cut the command is opened
 * again under the same id (an id runs only once) or, once it is known to run, attached to at the offsets received so far.
 */
import type { Json, MuxStream, StreamHandler } from '../../mux/index.ts';
import { backoffMs } from '../../lib/backoff.ts';
import { sleep } from '../../lib/deadline.ts';
import { CUTS } from '../../protocol/cuts.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { ExecExit, ExecOpened } from '../../protocol/exec.ts';
import { Channel } from '../../protocol/frames.ts';
import { LateOpens } from '../../protocol/late-opens.ts';
import type { NodeOpen } from '../../protocol/node.ts';
import type { Opener } from '../nodes/unary.ts';
import { sendBytes } from '../streams/send.ts';
import type { Program } from './program.ts';

export interface Offsets {
  stdout: number;
  stderr: number;
}

export interface CommandStreamOptions {
  /** Its `stdin` is sent from here; a listener whose program has none may send input itself. */
  program: Program;
  /** The sandbox's node; waits for it if necessary. Rejects with `node_unavailable` when it stays away. */
  locate(signal: AbortSignal): Promise<Opener>;
  /** How long to look for the command after its link was cut. */
  resumeMs: number;
  /** Nobody can have used the id before, so stdin need not wait for the answer. */
  freshId?: boolean;
  /** It runs already: its output is wanted from here on. */
  attachAt?: Offsets | undefined;
  /** Leave the exit with the node, which keeps it for an hour, in case somebody asks again. */
  keepExit: boolean;
  listener: CommandListener;
}

/** Called synchronously, but never before the constructor has returned. Either `exited` or `failed` is the last call. */
export interface CommandListener {
  /** It runs. Called again after each cut, with the new stream. */
  opened(answer: ExecOpened, stream: MuxStream): void;
  /** Bytes that are valid only during the call. The stream wants them consumed when they have been taken. */
  output(channel: number, bytes: Uint8Array, stream: MuxStream): void;
  /** Output up to this offset was discarded before it could be sent. */
  lost?(channel: keyof Offsets, to: number): void;
  /** A stream that was open has ended. */
  disconnected?(): void;
  exited(exit: ExecExit): void;
  /** Why the exit cannot be known: `cancelled` after a kill, `interrupted` when the command may have run. */
  failed(error: ServiceError): void;
}

/** How long to wait for the exit after a kill. */
const KILL_PATIENCE_MS = 10_000;
const BACKOFF = { firstMs: 20, maxMs: 1_000 };

export class CommandStream {
  readonly #options: CommandStreamOptions;
  readonly #received: Offsets;
  readonly #lateOpens = new LateOpens();
  /** Ends waits when all is over. */
  readonly #stop = new AbortController();
  #stream: MuxStream | null = null;
  #sent = false;
  /** It runs or has run, as far as we know. */
  #runs: boolean;
  /** Stdin is being sent over the current stream. */
  #fed = false;
  #killed = false;
  #over = false;
  #cutAt: number | null = null;
  #tries = 0;
  #patience: NodeJS.Timeout | undefined;

  constructor(options: CommandStreamOptions) {
    this.#options = options;
    this.#runs = options.attachAt !== undefined;
    this.#received = { stdout: 0, stderr: 0, ...options.attachAt };
    void this.#begin();
  }

  /** Kills all that the command has started, and keeps what has not started from starting. */
  kill(): void {
    if (this.#over || this.#killed) return;
    this.#killed = true;
    this.#stream?.urgent({ type: 'kill' });
    const mayRun = this.#runs || (this.#sent && this.#stream === null);
    // The reset overtakes a command that has not started.
    if (!mayRun) return this.giveUp(new ServiceError('cancelled'));
    this.#patience = setTimeout(() => this.giveUp(new ServiceError('cancelled')), KILL_PATIENCE_MS).unref();
  }

  /** Ends with this error. What the command does is up to the node. */
  giveUp(error: ServiceError): void {
    const stream = this.#stream;
    this.#fail(error);
    stream?.reset(new ServiceError('cancelled'));
  }

  /** Hears no more of the command, which runs on. */
  letGo(): void {
    const stream = this.#stream;
    this.#finish();
    stream?.reset(new ServiceError('cancelled'));
  }

  /** Never rejects. */
  async #begin(): Promise<void> {
    try {
      const { signal } = this.#stop;
      if (this.#tries > 0) await sleep(backoffMs(BACKOFF, this.#tries), signal);
      const node = await this.#options.locate(signal);
      if (this.#over) return;
      // A command that is to be killed must not be started by opening it again.
      const attaches = this.#runs || this.#killed;
      this.#fed = this.#options.freshId === true && !this.#sent;
      this.#lateOpens.asked();
      const stream = node.open(this.#request(attaches), this.#handler());
      this.#sent = true;
      this.#stream = stream;
      if (this.#killed) stream.urgent({ type: 'kill' });
      if (!attaches) await this.#sendFirst(stream);
    } catch (error) {
      this.#ended(ServiceError.from(error));
    }
  }

  #request(attaches: boolean): NodeOpen {
    const { open } = this.#options.program;
    if (!attaches) return open;
    return { op: 'attach', sandbox: open.sandbox, id: open.id, ...this.#received };
  }

  async #sendFirst(stream: MuxStream): Promise<void> {
    const { script, stdin } = this.#options.program;
    if (script !== null) await sendWhole(stream, Channel.SCRIPT, script);
    if (stdin !== null && this.#fed) await sendWhole(stream, Channel.STDIN, stdin);
  }

  #handler(): StreamHandler {
    return {
      opened: (answer) => this.#onOpened(ExecOpened.parse(answer)),
      data: (channel, bytes) => this.#onData(channel, bytes),
      event: (message) => this.#onEvent(message),
      fin: (channel) => {
        if (channel !== Channel.ALL) return;
        // Answering FIN ALL with FIN ALL acknowledges the exit, and the node forgets it; RESET does not.
        if (this.#over) this.#stream?.end();
        else this.giveUp(noExit());
      },
      closed: (error) => {
        this.#stream = null;
        if (this.#over) return;
        this.#options.listener.disconnected?.();
        this.#ended(error ?? noExit());
      },
    };
  }

  #onOpened(answer: ExecOpened): void {
    const stream = this.#stream;
    if (stream === null || this.#over) return;
    this.#lateOpens.answered();
    this.#cutAt = null;
    this.#tries = 0;
    this.#runs = true;
    const { program, listener } = this.#options;
    listener.opened(answer, stream);
    // The rest of stdin, from the offset that the node reports; from the start if it has just started the command.
    if (program.stdin === null || this.#fed) return;
    this.#fed = true;
    const rest = program.stdin.subarray(Math.max(0, answer.stdinBytes));
    sendWhole(stream, Channel.STDIN, rest).catch((error: unknown) => this.giveUp(ServiceError.from(error)));
  }

  #onData(channel: number, bytes: Uint8Array): void {
    const stream = this.#stream;
    if (stream === null) return;
    if (this.#over) return stream.consume(bytes.length);
    this.#received[channel === Channel.STDERR ? 'stderr' : 'stdout'] += bytes.length;
    this.#options.listener.output(channel, bytes, stream);
  }

  #onEvent(message: Json): void {
    if (this.#over) return;
    const { type, channel, to } = message;
    if (type === 'exit') return this.#onExit(message);
    if (type !== 'output_lost' || (channel !== 'stdout' && channel !== 'stderr') || typeof to !== 'number') return;
    this.#received[channel] = to;
    this.#options.listener.lost?.(channel, to);
  }

  #onExit(message: Json): void {
    const exit = ExecExit.safeParse(message);
    if (!exit.success) return this.giveUp(new ServiceError('interrupted', 'the node sent an exit that cannot be read'));
    const stream = this.#stream;
    this.#finish();
    if (this.#options.keepExit) stream?.reset(new ServiceError('cancelled'));
    this.#options.listener.exited(exit.data);
  }

  /** A stream ended before the exit, or could not be opened. */
  #ended(error: ServiceError): void {
    if (this.#over) return;
    const leadsOn = this.#lateOpens.ended(error) || CUTS.has(error.code);
    if (!leadsOn) return this.#fail(this.#explain(error));
    const now = performance.now();
    this.#cutAt ??= now;
    this.#tries += 1;
    const inTime = now - this.#cutAt <= this.#options.resumeMs;
    // As long as nothing was sent, the error itself tells the caller that a retry is safe.
    if (inTime && (this.#sent || error.code !== 'node_unavailable')) void this.#begin();
    else this.#fail(this.#sent ? new ServiceError('interrupted', undefined, { cause: error }) : error);
  }

  #explain(error: ServiceError): ServiceError {
    if (this.#killed && !this.#runs) return new ServiceError('cancelled');
    if (error.code === 'cancelled' && this.#sent) {
      return new ServiceError('interrupted', 'another call has taken this command over');
    }
    const didRun = this.#runs && this.#options.attachAt === undefined;
    if (error.code !== 'exec_not_found' || !didRun) return error;
    return new ServiceError('interrupted', undefined, { cause: error });
  }

  #fail(error: ServiceError): void {
    if (this.#over) return;
    this.#finish();
    this.#options.listener.failed(error);
  }

  #finish(): void {
    this.#over = true;
    clearTimeout(this.#patience);
    this.#stop.abort(new ServiceError('cancelled'));
  }
}

async function sendWhole(stream: MuxStream, channel: number, bytes: Buffer): Promise<void> {
  await sendBytes(stream, channel, bytes);
  stream.fin(channel);
}

const noExit = (): ServiceError => new ServiceError('interrupted', 'the stream of the command ended without an exit');
