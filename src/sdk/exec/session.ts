/**
 * One command over the client's WebSocket, across as many links as it takes. When a link is lost, the session opens a
 * stream on the next one: with the same exec id if it does not know that the command started (an id runs only once),
 * otherwise by attaching at the offsets received so far.
 */
import { asError, orAbort, sleep, withDeadline } from '../../lib/deadline.ts';
import { ExecExit, ExecOpened, type ExecCommand, type ExecOpen } from '../../protocol/exec.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { Channel } from '../../protocol/frames.ts';
import { PendingCommands, type Json, type MuxStream, type StreamHandler } from '../../mux/index.ts';
import type { Connection, StreamCall } from '../connection.ts';
import { pauseMs } from '../http.ts';
import type { ExecOutput } from './output.ts';
import type { ChannelName, Ended } from './result.ts';
import { sendScript } from './script.ts';
import type { Stdin } from './stdin.ts';
import { ReconnectPolicy } from './reconnect-policy.ts';

/** What to run. Null: the session attaches to a command that is already running. */
export type Program = Omit<ExecOpen, 'op' | 'sandbox' | 'id' | 'scriptBytes'> | null;

export interface SessionOptions {
  connection: Pick<Connection, 'open' | 'tryOpen'>;
  /** A promise while the sandbox is being created. */
  sandbox: string | Promise<string>;
  id: string;
  program: Program;
  /** A script that is too long for the OPEN; it follows on a channel of its own. */
  script?: Buffer | undefined;
  output: ExecOutput;
  /** Offsets of the first bytes to receive. */
  from: Readonly<Record<ChannelName, number>>;
  stdin?: Stdin | undefined;
  /** Do not acknowledge the exit: others may ask for it by the id that the caller chose. */
  keepExit: boolean;
  /** How long to try to reconnect to a command after a cut. */
  resumeMs: number;
}

/** How long to wait for the exit after a kill. */
const KILL_PATIENCE_MS = 10_000;

export class ExecSession {
  readonly #options: SessionOptions;
  readonly #ended = Promise.withResolvers<Ended>();
  readonly #started = Promise.withResolvers<{ pid: number | null; queueMs: number }>();
  /** Aborts waits when the session is over. Created on demand. */
  #stop: AbortController | null = null;
  #stream: MuxStream | null = null;
  /** OPENED was received: the command runs, or ran. */
  #opened: boolean;
  readonly #received: Record<ChannelName, number>;
  #queueMs = 0;
  #done = false;
  /** It is to be killed, and so is never opened again: that might start it. */
  #killed = false;
  /** Its caller no longer waits for anything but the exit after the kill. */
  #abandoned = false;
  #patience: NodeJS.Timeout | undefined;
  readonly #pending = new PendingCommands();
  readonly #reconnect: ReconnectPolicy;
  /** Resolves with the amount of stdin received, when the next attach is answered. */
  #asked: PromiseWithResolvers<number> | null = null;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#opened = options.program === null;
    this.#reconnect = new ReconnectPolicy(options.resumeMs);
    this.#received = { stdout: options.from.stdout, stderr: options.from.stderr };
    this.#ended.promise.catch(() => undefined);
    this.#started.promise.catch(() => undefined);
  }

  /** Resolves with the exit, or rejects when it cannot be known. */
  get ended(): Promise<Ended> {
    return this.#ended.promise;
  }

  /** Resolves when the command runs. */
  get started(): Promise<{ pid: number | null; queueMs: number }> {
    return this.#started.promise;
  }

  /** Sends the OPEN at once if the sandbox's id is known and the link is up. */
  start(): void {
    const { sandbox, connection } = this.#options;
    if (typeof sandbox === 'string') {
      try {
        if (connection.tryOpen(this.#call(sandbox))) return;
      } catch (error) {
        return this.#fail(asError(error));
      }
    }
    void this.#open();
  }

  /** @throws ServiceError `rate_limited` for a signal when many wait for a stream */
  command(command: ExecCommand): void {
    if (this.#done) return;
    const stream = this.#stream;
    if (!this.#pending.keep(command, stream !== null)) {
      throw new ServiceError('rate_limited', 'too many signals are waiting for this command');
    }
    if (command.type === 'kill') this.#killed = true;
    if (stream !== null) stream.urgent(command);
    else if (this.#killed && this.#unsent) this.#fail(neverRan());
  }

  /** Kills everything the command started. The session ends with the exit, or with `reason` if none arrives. */
  kill(reason: Error): void {
    if (this.#done || this.#abandoned) return;
    if (this.#unsent) return this.#fail(reason);
    this.#abandoned = true;
    this.command({ type: 'kill' });
    // As far as we know it has not started: the reset keeps it from starting at all.
    if (this.#stream !== null && !this.#opened) return this.#giveUp(reason);
    this.#patience = setTimeout(() => this.#giveUp(reason), KILL_PATIENCE_MS).unref();
  }

  /** No OPEN has been sent yet. */
  get #unsent(): boolean {
    return this.#stream === null && !this.#opened && !this.#reconnect.disconnected;
  }

  /**
   * Leaves the command running, once it runs and has received everything written to its stdin.
   * @throws ServiceError why it does not run, `deadline_exceeded` when stdin is not taken in time.
   */
  async detach(deadlineMs: number): Promise<void> {
    await withDeadline({ deadlineMs, what: 'giving the command its stdin' }, async (signal) => {
      await this.#started.promise;
      if (this.#options.stdin !== undefined) await this.#flush(this.#options.stdin, signal);
    });
    this.#giveUp(new ServiceError('cancelled', 'the caller detached from this command'));
  }

  /**
   * Waits until stdin was received. A reset overtakes bytes in flight, and no frame acknowledges them, but the answer
   * to an attach says how many have arrived; missing bytes are sent again after it.
   */
  async #flush(stdin: Stdin, signal: AbortSignal): Promise<void> {
    // The end of stdin follows the last byte: one more answer shows that it has arrived too.
    let answers = stdin.finished ? 2 : 1;
    for (let tries = 1; !this.#done && !stdin.untouched; tries++) {
      await stdin.sent;
      if (stdin.isWhole(await this.#taken(signal)) && --answers === 0) return;
      if (tries > 2) await sleep(pauseMs(tries - 2), signal);
    }
  }

  /** Attaches again, and resolves with how much of stdin was received. */
  async #taken(signal: AbortSignal): Promise<number> {
    const asked = Promise.withResolvers<number>();
    this.#asked = asked;
    try {
      const sandbox = await this.#options.sandbox;
      await this.#options.connection.open(this.#call(sandbox), signal);
      return await orAbort(signal, asked.promise);
    } finally {
      this.#asked = null;
    }
  }

  #giveUp(reason: Error): void {
    if (this.#done) return;
    const stream = this.#stream;
    this.#fail(reason);
    stream?.reset(new ServiceError('cancelled'));
  }

  #request(sandbox: string): Json {
    const { id, program, script } = this.#options;
    if (this.#opened || program === null || this.#killed) {
      return { op: 'attach', sandbox, id, stdout: this.#received.stdout, stderr: this.#received.stderr };
    }
    return { op: 'exec', sandbox, id, ...program, ...(script === undefined ? {} : { scriptBytes: script.length }) };
  }

  /** Opens a stream, after a pause when the last one was cut. Never rejects. */
  async #open(): Promise<void> {
    const { signal } = (this.#stop ??= new AbortController());
    try {
      const sandbox = await this.#options.sandbox;
      const { pauseMs } = this.#reconnect;
      if (pauseMs > 0) await sleep(pauseMs, signal);
      if (this.#done) return;
      await this.#options.connection.open(this.#call(sandbox), signal);
    } catch (error) {
      this.#fail(asError(error));
    }
  }

  #adopt(stream: MuxStream): void {
    if (this.#done) return stream.reset(new ServiceError('cancelled'));
    this.#stream = stream;
    this.#reconnect.asked();
    const { script } = this.#options;
    if (script !== undefined && !this.#opened && !this.#killed) void sendScript(stream, script);
    for (const command of this.#pending.take()) stream.urgent(command);
  }

  #call(sandbox: string): StreamCall {
    let mine: MuxStream | null = null;
    // Another attach of this session has taken over the command from this stream.
    const isOld = (): boolean => mine !== null && this.#stream !== null && this.#stream !== mine;
    const handler: StreamHandler = {
      opened: (answer) => isOld() || this.#onOpened(ExecOpened.parse(answer)),
      data: (channel, bytes) => (isOld() ? mine?.consume(bytes.length) : this.#onData(channel, bytes)),
      event: (message) => isOld() || this.#onEvent(message),
      fin: (channel) => isOld() || channel !== Channel.ALL || this.#takeLeave(mine),
      closed: (error) => isOld() || this.#onClosed(error),
    };
    const begun = (stream: MuxStream): void => {
      mine = stream;
      this.#adopt(stream);
    };
    return { request: () => this.#request(sandbox), handler, begun };
  }

  /** Answering FIN ALL with FIN ALL acknowledges the exit, which is then forgotten; RESET does not. */
  #takeLeave(stream: MuxStream | null): void {
    if (this.#options.keepExit && this.#done) stream?.reset(new ServiceError('cancelled'));
    else stream?.end();
  }

  #onOpened({ pid, queueMs, stdinBytes }: ExecOpened): void {
    const attached = this.#opened;
    this.#opened = true;
    this.#reconnect.answered();
    if (!attached) this.#queueMs = queueMs;
    this.#started.resolve({ pid, queueMs: this.#queueMs });
    const { stdin } = this.#options;
    if (stdin === undefined || this.#stream === null) return;
    // No stdin is sent before the first OPENED, so an adopted command also begins at 0.
    this.#asked?.resolve(stdinBytes);
    stdin.pump(this.#stream, stdinBytes).catch((error: unknown) => this.#giveUp(asError(error)));
  }

  #onData(channel: number, bytes: Uint8Array): void {
    const stream = this.#stream;
    const name = channelName(channel);
    if (stream === null) return;
    if (name === undefined || this.#done) return stream.consume(bytes.length);
    this.#received[name] += bytes.length;
    this.#reconnect.progressed();
    this.#options.output.push(name, bytes, stream);
  }

  #onEvent(message: Json): void {
    if (this.#done) return;
    if (message['type'] === 'exit') return this.#onExit(message);
    if (message['type'] !== 'output_lost') return;
    const { channel, from, to } = message;
    if ((channel !== 'stdout' && channel !== 'stderr') || typeof from !== 'number' || typeof to !== 'number') return;
    this.#received[channel] = to;
    this.#options.output.lost(channel, from, to);
  }

  #onExit(message: Json): void {
    const exit = ExecExit.safeParse(message);
    if (!exit.success) return this.#giveUp(new ServiceError('protocol_error', 'an exit that cannot be read'));
    this.#finish();
    this.#started.resolve({ pid: null, queueMs: this.#queueMs });
    this.#ended.resolve({ exit: exit.data, queueMs: this.#queueMs });
  }

  #onClosed(error: ServiceError | null): void {
    this.#stream = null;
    if (this.#done) return;
    if (error === null) return this.#fail(new ServiceError('interrupted', 'the stream ended without an exit'));
    const mayResume = this.#reconnect.mayResume(error, this.#opened || this.#killed);
    if (!mayResume) return this.#fail(this.#explain(error));
    if ((this.#abandoned && !this.#opened) || !this.#reconnect.countAttempt()) return this.#fail(error);
    void this.#open();
  }

  #explain(error: ServiceError): ServiceError {
    if (this.#killed && !this.#opened && (error.code === 'exec_not_found' || error.retryable)) return neverRan(error);
    if (error.code !== 'exec_not_found' || this.#options.program === null) return error;
    return new ServiceError('interrupted', undefined, { cause: error });
  }

  #fail(error: Error): void {
    if (this.#done) return;
    this.#finish();
    this.#started.reject(error);
    this.#ended.reject(error);
  }

  #finish(): void {
    this.#done = true;
    clearTimeout(this.#patience);
    this.#stop?.abort(new ServiceError('cancelled'));
    this.#asked?.resolve(0);
    this.#options.stdin?.drop();
  }
}

const neverRan = (cause?: ServiceError): ServiceError =>
  new ServiceError('cancelled', 'the command was killed before it ran', cause === undefined ? {} : { cause });

function channelName(channel: number): ChannelName | undefined {
  if (channel === Channel.STDOUT || channel === Channel.PTY) return 'stdout';
  return channel === Channel.STDERR ? 'stderr' : undefined;
}
