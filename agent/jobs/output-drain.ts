/**
 * The stream through which the agent reads a job from its sandbox. It stores all output on disk, at the disk's pace and
 * independently of any reader.
 */
import type { Json, MuxStream, StreamHandler } from '../../src/mux/index.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import { ExecExit } from '../../src/protocol/exec.ts';
import { Channel } from '../../src/protocol/frames.ts';
import type { RelayKind } from '../link/relay.ts';
import { relay } from '../link/relay.ts';
import type { Sandbox } from '../sandboxes/sandbox.ts';
import type { JobFiles } from './job-files.ts';

interface DrainEvents {
  opened(answer: Json): void;
  /** This many bytes of stdin have been consumed. */
  taken(bytes: number): void;
  exit(exit: ExecExit): void;
  /** The stream is gone. Not called after the exit. */
  lost(error: ServiceError): void;
}

/** A running job does not count as use of its sandbox; only calls do. */
const NO_CALLS = { callBegins: () => undefined, callEnds: () => undefined };

export class OutputDrain implements MuxStream {
  readonly id = 0;
  readonly request: Json = {};
  readonly requestBytes = 0;
  readonly #files: JobFiles;
  readonly #events: DrainEvents;
  #sandbox: StreamHandler = {};
  /** Channels whose FIN was sent. The stream carries nothing more on them. */
  readonly #ended = new Set<number>();
  #exited = false;
  #closed = false;

  private constructor(files: JobFiles, events: DrainEvents) {
    this.#files = files;
    this.#events = events;
  }

  /**
   * @throws ServiceError if the sandbox has ended or too many calls are waiting for it. No event is reported in that
   * case.
   */
  static open(files: JobFiles, events: DrainEvents, sandbox: Sandbox, kind: RelayKind): OutputDrain {
    const drain = new OutputDrain(files, events);
    drain.#sandbox = relay(drain, sandbox, NO_CALLS, kind);
    return drain;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** The command has ended, and its exit is being recorded. */
  get exited(): boolean {
    return this.#exited;
  }

  // Called by the job.

  /** Whether FIN was sent on this channel, so that nothing may follow on this stream. */
  hasEnded(channel: number): boolean {
    return this.#ended.has(channel);
  }

  /** Bytes are copied if they have to wait. */
  send(channel: number, bytes: Uint8Array): void {
    this.#sandbox.data?.(channel, bytes);
  }

  command(message: Json): void {
    this.#sandbox.event?.(message);
  }

  finish(channel: number): void {
    this.#ended.add(channel);
    this.#sandbox.fin?.(channel);
  }

  /** The exit has been recorded: boxinit may forget the command. */
  acknowledge(): void {
    this.#close(null);
  }

  /** Detaches for good; the program continues. No more events are reported. */
  abandon(): void {
    this.#close(new ServiceError('cancelled', 'detached'));
  }

  /**
   * Detaches with a later attach in mind: boxinit keeps the exit for it, even after a kill. No more events are
   * reported.
   */
  leave(): void {
    this.#close(new ServiceError('interrupted', 'detached'));
  }

  // Called by the sandbox's side.

  accept(answer: Json = {}): void {
    if (!this.#closed) this.#events.opened(answer);
  }

  write(channel: number, bytes: Uint8Array): Promise<void> {
    if (this.#exited) return Promise.resolve();
    const log = channel === Channel.STDERR ? this.#files.stderr : this.#files.stdout;
    return log.append(bytes);
  }

  event(message: Json): void {
    if (this.#closed || this.#exited) return;
    if (message['type'] === 'output_lost') {
      const log = message['channel'] === 'stderr' ? this.#files.stderr : this.#files.stdout;
      void log.lost(Number(message['to']));
    }
    if (message['type'] !== 'exit') return;
    this.#exited = true;
    this.#events.exit(ExecExit.parse(message));
  }

  urgent(message: Json): void {
    this.event(message);
  }

  fin(channel: number): void {
    if (channel === Channel.ALL) this.end();
  }

  end(): void {
    if (!this.#exited) this.refuse(new ServiceError('interrupted', 'the stream of a job ended without an exit'));
  }

  reset(error: ServiceError): void {
    this.refuse(error);
  }

  refuse(error: ServiceError): void {
    if (this.#closed) return;
    this.#close(error);
    if (!this.#exited) this.#events.lost(error);
  }

  consume(bytes: number): void {
    if (!this.#closed) this.#events.taken(bytes);
  }

  #close(error: ServiceError | null): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#sandbox.closed?.(error);
  }
}
