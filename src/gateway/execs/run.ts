/**
 * One blocking exec, from its OPEN to its result, across as many links as it takes. After a cut it is opened again under
 * the same id (an id runs only once) or, once it is known to run, attached to at the offsets received so far.
 */
import type { Json, MuxStream, StreamHandler } from '../../mux/index.ts';
import { backoffMs } from '../../lib/backoff.ts';
import { sleep } from '../../lib/deadline.ts';
import { CUTS } from '../../protocol/cuts.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { ExecExit, ExecOpened, type ExecResult } from '../../protocol/exec.ts';
import { Channel } from '../../protocol/frames.ts';
import { Strays } from '../../protocol/strays.ts';
import { sendBytes } from '../streams/send.ts';
import type { Opener } from '../nodes/unary.ts';
import { Capture } from './capture.ts';
import type { Program } from './program.ts';

export interface RunOptions {
  program: Program;
  /** The sandbox's node; waits for it if necessary. Rejects with `node_unavailable` when it stays away. */
  locate(signal: AbortSignal): Promise<Opener>;
  maxOutputBytes: number;
  encoding: 'utf8' | 'base64';
  /** The caller went away: the command is killed. */
  signal?: AbortSignal | undefined;
  /** How long to look for the command after its link was cut. */
  resumeMs: number;
  /** Leave the exit with the node, which keeps it for an hour, in case the caller asks again. */
  keepExit: boolean;
}

/** How long to wait for the exit after a kill. */
const KILL_PATIENCE_MS = 10_000;
const BACKOFF = { firstMs: 20, maxMs: 1_000 };

const NO_EXIT = (): ServiceError => new ServiceError('interrupted', 'the stream of the command ended without an exit');

/** Resolves with the result, or rejects with a ServiceError. Never makes up an exit. */
export function runExec(options: RunOptions): Promise<ExecResult> {
  return new Run(options).result;
}

class Run {
  readonly #options: RunOptions;
  readonly #done = Promise.withResolvers<ExecResult>();
  /** Aborts the wait for a node; null while there is none. */
  #waiting: AbortController | null = null;
  readonly #askedAt = performance.now();
  readonly #stdout: Capture;
  readonly #stderr: Capture;
  #stream: MuxStream | null = null;
  #sent = false;
  readonly #strays = new Strays();
  /** Stdin is being sent over the current stream. */
  #fed = false;
  #opened = false;
  #locatedMs: number | null = null;
  #queueMs = 0;
  #cutAt: number | null = null;
  #tries = 0;
  #settled = false;
  #killed = false;
  #patience: NodeJS.Timeout | undefined;
  #limit: NodeJS.Timeout | undefined;
  readonly #onAbort = (): void => this.#kill();

  constructor(options: RunOptions) {
    this.#options = options;
    this.#stdout = new Capture(options.maxOutputBytes);
    this.#stderr = new Capture(options.maxOutputBytes);
    if (options.signal?.aborted) this.#fail(new ServiceError('cancelled'));
    else {
      options.signal?.addEventListener('abort', this.#onAbort, { once: true });
      void this.#begin();
    }
  }

  get result(): Promise<ExecResult> {
    return this.#done.promise;
  }

  /** Never rejects. */
  async #begin(): Promise<void> {
    try {
      const node = await this.#locate();
      if (this.#settled) return;
      this.#locatedMs ??= performance.now() - this.#askedAt;
      // A fresh id cannot belong to a running command, so stdin need not wait for the answer.
      const fresh = !this.#sent && !this.#options.keepExit;
      const attaches = this.#opened || this.#killed;
      this.#strays.asked();
      const stream = node.open(this.#request(attaches), this.#handler());
      this.#sent = true;
      this.#stream = stream;
      if (this.#killed) stream.urgent({ type: 'kill' });
      if (!attaches) await this.#sendFirst(stream, fresh);
    } catch (error) {
      this.#ended(ServiceError.from(error));
    }
  }

  /** The node, after a pause when the last stream was cut. */
  async #locate(): Promise<Opener> {
    const { signal } = (this.#waiting = new AbortController());
    try {
      if (this.#tries > 0) await sleep(backoffMs(BACKOFF, this.#tries), signal);
      return await this.#options.locate(signal);
    } finally {
      this.#waiting = null;
    }
  }

  /** @param attaches to what may run: a command that is to be killed must not be started by opening it again */
  #request(attaches: boolean): Json {
    const { open } = this.#options.program;
    if (!attaches) return open;
    const { sandbox, id } = open;
    return { op: 'attach', sandbox, id, stdout: this.#stdout.received, stderr: this.#stderr.received };
  }

  async #sendFirst(stream: MuxStream, fresh: boolean): Promise<void> {
    const { script, stdin } = this.#options.program;
    if (script !== null) {
      await sendBytes(stream, Channel.SCRIPT, script);
      stream.fin(Channel.SCRIPT);
    }
    if (stdin === null || !fresh) return;
    this.#fed = true;
    await this.#sendStdin(stream, stdin);
  }

  async #sendStdin(stream: MuxStream, bytes: Buffer): Promise<void> {
    await sendBytes(stream, Channel.STDIN, bytes);
    stream.fin(Channel.STDIN);
  }

  #handler(): StreamHandler {
    return {
      opened: (answer) => this.#onOpened(ExecOpened.parse(answer)),
      data: (channel, bytes) => {
        if (channel === Channel.STDOUT || channel === Channel.PTY) this.#stdout.push(bytes);
        else if (channel === Channel.STDERR) this.#stderr.push(bytes);
        this.#stream?.consume(bytes.length);
      },
      event: (message) => this.#onEvent(message),
      fin: (channel) => {
        if (channel !== Channel.ALL) return;
        // Answering FIN ALL with FIN ALL acknowledges the exit, and the node forgets it; RESET does not.
        if (this.#settled) this.#stream?.end();
        else this.#giveUp(NO_EXIT());
      },
      closed: (error) => {
        this.#stream = null;
        this.#fed = false;
        this.#ended(error ?? NO_EXIT());
      },
    };
  }

  #onOpened({ queueMs, stdinBytes }: ExecOpened): void {
    this.#strays.answered();
    this.#cutAt = null;
    this.#tries = 0;
    const { stdin, limitMs } = this.#options.program;
    const stream = this.#stream;
    if (!this.#opened) {
      this.#opened = true;
      this.#queueMs = (this.#locatedMs ?? 0) + queueMs;
      if (limitMs !== null) {
        const late = new ServiceError('interrupted', 'the node did not say how the command ended');
        this.#limit = setTimeout(() => this.#giveUp(late), limitMs);
      }
    }
    // The rest of stdin, from the offset that the node reports; from the start if it has just started the command.
    if (stdin === null || stream === null || this.#fed) return;
    this.#sendStdin(stream, stdin.subarray(Math.max(0, stdinBytes))).catch((error: unknown) => {
      this.#giveUp(ServiceError.from(error));
    });
  }

  #onEvent(message: Json): void {
    if (message['type'] === 'output_lost') {
      const to = typeof message['to'] === 'number' ? message['to'] : 0;
      (message['channel'] === 'stderr' ? this.#stderr : this.#stdout).lost(to);
    }
    if (message['type'] !== 'exit' || this.#settled) return;
    const exit = ExecExit.safeParse(message);
    if (!exit.success)
      return this.#giveUp(new ServiceError('interrupted', 'the node sent an exit that cannot be read'));
    const stream = this.#stream;
    const { keepExit, program, encoding } = this.#options;
    this.#settle();
    if (keepExit) stream?.reset(new ServiceError('cancelled'));
    if (this.#killed) return this.#done.reject(new ServiceError('cancelled'));
    this.#done.resolve({
      execId: program.open.id ?? '',
      exitCode: exit.data.exitCode,
      signal: exit.data.signal,
      stdout: this.#stdout.takeText(encoding),
      stderr: this.#stderr.takeText(encoding),
      timedOut: exit.data.timedOut,
      oomKilled: exit.data.oomKilled,
      truncated: { stdout: this.#stdout.truncated, stderr: this.#stderr.truncated },
      stdoutBytes: exit.data.stdoutBytes,
      stderrBytes: exit.data.stderrBytes,
      durationMs: exit.data.durationMs,
      queueMs: Math.round(this.#queueMs * 1000) / 1000,
    });
  }

  /** A stream ended before the exit, or could not be opened. */
  #ended(error: ServiceError): void {
    if (this.#settled) return;
    if (this.#killed && !this.#opened) return this.#fail(new ServiceError('cancelled'));
    const stray = this.#strays.ended(error);
    const taken = error.code === 'cancelled' && this.#sent && !stray;
    if (taken) return this.#fail(new ServiceError('interrupted', 'another call has taken this command over'));
    if (!stray && !CUTS.has(error.code)) return this.#fail(this.#explain(error));
    const now = performance.now();
    this.#cutAt ??= now;
    this.#tries += 1;
    // Nothing was ever sent: this error tells the caller that a retry is safe.
    if (now - this.#cutAt > this.#options.resumeMs || (!this.#sent && error.code === 'node_unavailable')) {
      return this.#fail(this.#sent ? new ServiceError('interrupted', undefined, { cause: error }) : error);
    }
    void this.#begin();
  }

  /** A command that ran and is unknown now was interrupted. */
  #explain(error: ServiceError): ServiceError {
    if (!this.#opened || error.code !== 'exec_not_found') return error;
    return new ServiceError('interrupted', undefined, { cause: error });
  }

  /** The caller went away. */
  #kill(): void {
    if (this.#settled || this.#killed) return;
    this.#killed = true;
    this.#stream?.urgent({ type: 'kill' });
    // Nothing was sent yet, so nothing needs to be killed.
    if (this.#stream === null && !this.#sent) return this.#giveUp(new ServiceError('cancelled'));
    this.#patience = setTimeout(() => this.#giveUp(new ServiceError('cancelled')), KILL_PATIENCE_MS).unref();
  }

  #giveUp(error: ServiceError): void {
    if (this.#settled) return;
    const stream = this.#stream;
    this.#fail(error);
    stream?.reset(new ServiceError('cancelled'));
  }

  #fail(error: ServiceError): void {
    if (this.#settled) return;
    this.#settle();
    this.#done.reject(error);
  }

  #settle(): void {
    this.#settled = true;
    clearTimeout(this.#limit);
    clearTimeout(this.#patience);
    this.#waiting?.abort(new ServiceError('cancelled'));
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
  }
}
