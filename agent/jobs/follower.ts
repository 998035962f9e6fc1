/** A gateway's stream that follows a job: it reads the output from the log, at its own pace. */
import type { Json, MuxStream, StreamHandler } from '../../src/mux/index.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import { readExecCommand } from '../../src/protocol/exec-command.ts';
import { Channel } from '../../src/protocol/frames.ts';
import type { Attached, Job, JobListener } from './job.ts';
import { LogReader } from './log-reader.ts';

export interface FollowOptions {
  stdout: number;
  stderr: number;
  /** The OPENED payload, once the job is running. */
  answer(attached: Attached): Json;
  /** Whether this stream started the job and so provides the text of a long script. */
  starts: boolean;
  /** Called once, when the stream is over. */
  over(): void;
}

export class Follower implements StreamHandler, JobListener {
  readonly #outer: MuxStream;
  readonly #job: Job;
  readonly #options: FollowOptions;
  readonly #readers: readonly { name: 'stdout' | 'stderr'; channel: number; reader: LogReader }[];
  /** Whether the client has sent anything that a cut may lose and the job does not repeat: input, its FIN, signals. */
  #sent = false;
  #changed = false;
  #wake: (() => void) | null = null;

  constructor(outer: MuxStream, job: Job, options: FollowOptions) {
    this.#outer = outer;
    this.#job = job;
    this.#options = options;
    const { files, pty } = job;
    this.#readers = [
      {
        name: 'stdout',
        channel: pty ? Channel.PTY : Channel.STDOUT,
        reader: new LogReader(files.stdout, options.stdout),
      },
      { name: 'stderr', channel: Channel.STDERR, reader: new LogReader(files.stderr, options.stderr) },
    ];
    job.listen(this);
    // By the time the first answer is sent, the handler is in place.
    queueMicrotask(() => void this.#serve());
  }

  // Called by the gateway's side.

  data(channel: number, bytes: Uint8Array): void {
    if (channel === Channel.SCRIPT && !this.#options.starts) return this.#taken(bytes.length);
    this.#sent = true;
    if (!this.#job.send(channel, bytes, this.#taken)) this.#unreachable();
  }

  event(message: Json): void {
    const command = readExecCommand(message);
    if (command === undefined) return;
    if (command.type === 'signal') this.#sent = true;
    if (this.#job.command(command)) return;
    this.#outer.refuse(new ServiceError('rate_limited', 'too many signals are waiting for this command'));
  }

  fin(channel: number): void {
    if (channel === Channel.SCRIPT && !this.#options.starts) return;
    this.#sent = true;
    if (!this.#job.finish(channel)) this.#unreachable();
  }

  readonly #taken = (bytes: number): void => this.#outer.consume(bytes);

  /** The client attaches again, and the answer says how much of its input arrived. */
  #unreachable(): void {
    this.#outer.refuse(this.#job.failure ?? new ServiceError('interrupted', 'the command is being found again'));
  }

  closed(): void {
    this.#job.leave(this);
    this.#wake?.();
    this.#options.over();
  }

  // Called by the job.

  changed(): void {
    this.#changed = true;
    this.#wake?.();
  }

  cut(error: ServiceError): void {
    if (this.#sent) this.#outer.refuse(error);
  }

  /** Never rejects. */
  async #serve(): Promise<void> {
    try {
      const attached = await this.#job.attached();
      this.#outer.accept(this.#options.answer(attached));
      while (!this.#outer.closed) {
        this.#changed = false;
        const { exit, failure } = this.#job;
        if (await this.#sendPieces()) continue;
        if (exit !== null) {
          this.#outer.event({ type: 'exit', ...exit });
          return this.#outer.end();
        }
        if (failure !== null) throw failure;
        await this.#waitForMore();
      }
    } catch (error) {
      this.#outer.refuse(ServiceError.from(error));
    } finally {
      for (const { reader } of this.#readers) await reader.close().catch(() => undefined);
    }
  }

  /** Sends one piece from each channel that has any. False if none had. */
  async #sendPieces(): Promise<boolean> {
    let any = false;
    for (const { name, channel, reader } of this.#readers) {
      const piece = await reader.next();
      if (this.#outer.closed) return true;
      if (piece === null) continue;
      any = true;
      if ('lost' in piece) this.#outer.event({ type: 'output_lost', channel: name, ...piece.lost });
      else await this.#outer.write(channel, piece.bytes);
    }
    return any;
  }

  async #waitForMore(): Promise<void> {
    if (this.#changed || this.#outer.closed) return;
    await new Promise<void>((resolve) => (this.#wake = resolve));
    this.#wake = null;
  }
}
