/**
 * One command of a Connect client from start to end, across the client's streams, which it may lose and open again, and
 * across links to the node, which may be cut.
 */
import type { Json, MuxStream, StreamHandler } from '../../../../mux/index.ts';
import { backoffMs } from '../../../../lib/backoff.ts';
import { sleep } from '../../../../lib/deadline.ts';
import { CUTS } from '../../../../protocol/cuts.ts';
import { ServiceError } from '../../../../protocol/errors.ts';
import { ExecExit, ExecOpened, type SignalName } from '../../../../protocol/exec.ts';
import { Channel } from '../../../../protocol/frames.ts';
import { Strays } from '../../../../protocol/strays.ts';
import type { ExecService } from '../../../execs/service.ts';
import type { Program } from '../../../execs/program.ts';
import { sendBytes } from '../../../streams/send.ts';
import { Input } from './input.ts';
import { Once } from './once.ts';
import { Output, type Event } from './output.ts';

export interface SessionOptions {
  execs: ExecService;
  tenant: string;
  program: Program;
  /** How long to look for the command after its link was cut. */
  resumeMs: number;
  /** Continue a command that another gateway has started, at these offsets. */
  attach?: { stdout: number; stderr: number };
}

const BACKOFF = { firstMs: 50, maxMs: 1_000 };

export class Session {
  readonly id: string;
  readonly sandbox: string;
  readonly inputs = new Once();
  readonly signals = new Once();
  readonly #options: SessionOptions;
  readonly #started = Promise.withResolvers<number>();
  readonly #over = Promise.withResolvers<void>();
  readonly #output = new Output();
  readonly #input = new Input();
  readonly #offsets: { stdout: number; stderr: number };
  #stream: MuxStream | null = null;
  /** The node has confirmed that it runs. */
  #opened: boolean;
  readonly #strays = new Strays();
  #killed = false;
  #sent = false;
  /** Aborts the wait for a node; null while there is none. */
  #waiting: AbortController | null = null;
  #exited = false;
  #timedOut = false;
  #cutAt: number | null = null;
  #tries = 0;

  constructor(options: SessionOptions) {
    const { open } = options.program;
    this.#options = options;
    this.id = open.id ?? '';
    this.sandbox = open.sandbox;
    this.#opened = options.attach !== undefined;
    this.#offsets = { ...(options.attach ?? { stdout: 0, stderr: 0 }) };
    this.#started.promise.catch(() => undefined);
    void this.#begin();
  }

  /** Its process id, once it runs. @throws ServiceError as refused. */
  get started(): Promise<number> {
    return this.#started.promise;
  }

  /** Resolves when the session is over, however it ended; never rejects. */
  get over(): Promise<void> {
    return this.#over.promise;
  }

  get running(): boolean {
    return !this.#output.over;
  }

  get listening(): boolean {
    return this.#output.listening;
  }

  /** The command ran into its timeout. */
  get timedOut(): boolean {
    return this.#timedOut;
  }

  listen(signal: AbortSignal): AsyncGenerator<Event> {
    return this.#output.listen(signal);
  }

  /** @throws ServiceError `exec_not_found` when it has ended. */
  async write(bytes: Buffer): Promise<void> {
    await this.started;
    if (!this.running) throw new ServiceError('exec_not_found', 'The process has ended.');
    await this.#input.write(bytes);
  }

  /** Does nothing when the command has ended. */
  async signal(name: SignalName, all: boolean): Promise<void> {
    await this.started;
    if (!this.running) return;
    const { execs, tenant } = this.#options;
    await execs.signal(tenant, this.sandbox, this.id, { signal: name, all });
  }

  /** Kills the command; one that was not sent to a node yet never is. */
  kill(): void {
    if (this.#killed) return;
    this.#killed = true;
    this.#stream?.urgent({ type: 'kill' });
    this.#waiting?.abort(new ServiceError('cancelled'));
  }

  /** Never rejects. */
  async #begin(): Promise<void> {
    const waiting = new AbortController();
    try {
      if (this.#tries > 0) await sleep(backoffMs(BACKOFF, this.#tries));
      const attaches = this.#opened || this.#killed;
      const stream = await this.#open(attaches, waiting);
      if (stream.closed) return;
      this.#stream = stream;
      if (this.#killed) stream.urgent({ type: 'kill' });
      const { script } = this.#options.program;
      if (!attaches && script !== null) {
        await sendBytes(stream, Channel.SCRIPT, script);
        stream.fin(Channel.SCRIPT);
      }
    } catch (error) {
      // Called off by a kill: what may run by now is looked for, to be killed.
      if (waiting.signal.aborted && this.#sent) void this.#begin();
      else this.#ended(ServiceError.from(error));
    }
  }

  async #open(attaches: boolean, waiting: AbortController): Promise<MuxStream> {
    const { execs, tenant } = this.#options;
    this.#strays.asked();
    this.#waiting = waiting;
    try {
      const stream = await execs.open(tenant, this.#request(attaches), this.#handler(), waiting.signal);
      this.#sent = true;
      return stream;
    } finally {
      this.#waiting = null;
    }
  }

  /** @param attaches to what may run: a command that is to be killed must not be started by opening it again */
  #request(attaches: boolean): Json & { sandbox: string } {
    const { open } = this.#options.program;
    if (!attaches) return open;
    return { op: 'attach', sandbox: this.sandbox, id: this.id, ...this.#offsets };
  }

  #handler(): StreamHandler {
    // Credit goes back to the stream that the bytes came on, even if another one is current when they are taken.
    let own: MuxStream | null = null;
    const taken = (bytes: number): void => own?.consume(bytes);
    return {
      opened: (answer) => this.#onOpened(ExecOpened.parse(answer)),
      data: (channel, bytes) => {
        const name = channel === Channel.STDERR ? 'stderr' : channel === Channel.PTY ? 'pty' : 'stdout';
        this.#offsets[name === 'stderr' ? 'stderr' : 'stdout'] += bytes.length;
        own ??= this.#stream;
        this.#output.push(name, bytes, taken);
      },
      event: (message) => this.#onEvent(message),
      closed: (error) => {
        this.#stream = null;
        this.#input.disconnected();
        this.#ended(error ?? new ServiceError('interrupted', 'the stream of the command ended without an exit'));
      },
    };
  }

  #onOpened({ pid, stdinBytes }: ExecOpened): void {
    this.#strays.answered();
    this.#cutAt = null;
    this.#tries = 0;
    this.#opened = true;
    // This can run before `#begin` has stored the stream, when the answer is available at once.
    queueMicrotask(() => {
      if (this.#stream !== null && this.#options.program.open.stdin === true)
        this.#input.connected(this.#stream, stdinBytes);
    });
    this.#started.resolve(pid ?? 0);
  }

  #onEvent(message: Json): void {
    if (message['type'] === 'output_lost' && typeof message['to'] === 'number') {
      this.#offsets[message['channel'] === 'stderr' ? 'stderr' : 'stdout'] = message['to'];
    }
    if (message['type'] !== 'exit' || this.#exited) return;
    const exit = ExecExit.safeParse(message);
    if (!exit.success) return this.#fail(new ServiceError('interrupted', 'the node sent an exit that cannot be read'));
    this.#exited = true;
    this.#timedOut = exit.data.timedOut;
    this.#output.finish(exit.data.exitCode, exit.data.signal);
    this.#settle(new ServiceError('exec_not_found', 'The process has ended.'));
    // Acknowledges the exit: from now on this session keeps it for callers that ask again.
    this.#stream?.end();
  }

  /** A stream ended before the exit, or could not be opened. */
  #ended(error: ServiceError): void {
    if (this.#exited || !this.running) return;
    const stray = this.#strays.ended(error);
    if (!stray && !CUTS.has(error.code)) return this.#fail(error);
    const now = performance.now();
    this.#cutAt ??= now;
    this.#tries += 1;
    if (now - this.#cutAt > this.#options.resumeMs) return this.#fail(error);
    void this.#begin();
  }

  #fail(error: ServiceError): void {
    this.#output.fail(error);
    this.#started.reject(error);
    this.#settle(error);
    this.#stream?.reset(new ServiceError('cancelled'));
  }

  #settle(error: ServiceError): void {
    this.#input.fail(error);
    this.#over.resolve();
  }
}
