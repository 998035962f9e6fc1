/**
 * The stream of a job, as far as its sandbox is concerned: in the place where otherwise a gateway's stream is. It takes
 * all output to the disk, at the disk's pace and nobody else's.
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
  /** So many bytes of what was sent have been taken. */
  taken(bytes: number): void;
  exit(exit: ExecExit): void;
  /** The stream is gone. Not told after the exit. */
  lost(error: ServiceError): void;
}

/** A job is no use of its sandbox: whether that is idle is decided by who calls it. */
const NO_CALLS = { callBegins: () => undefined, callEnds: () => undefined };

export class Drain implements MuxStream {
  readonly id = 0;
  readonly request: Json = {};
  readonly #files: JobFiles;
  readonly #events: DrainEvents;
  #sandbox: StreamHandler = {};
  #exited = false;
  #closed = false;

  private constructor(files: JobFiles, events: DrainEvents) {
    this.#files = files;
    this.#events = events;
  }

  /** @throws ServiceError when the sandbox has ended or too many wait for it. Nothing is told then. */
  static open(files: JobFiles, events: DrainEvents, sandbox: Sandbox, kind: RelayKind): Drain {
    const drain = new Drain(files, events);
    drain.#sandbox = relay(drain, sandbox, NO_CALLS, kind);
    return drain;
  }

  get closed(): boolean {
    return this.#closed;
  }

  // What the job calls.

  /** Bytes are copied if they have to wait. */
  send(channel: number, bytes: Uint8Array): void {
    this.#sandbox.data?.(channel, bytes);
  }

  command(message: Json): void {
    this.#sandbox.event?.(message);
  }

  finish(channel: number): void {
    this.#sandbox.fin?.(channel);
  }

  /** The exit is in safe hands. */
  acknowledge(): void {
    this.#close(null);
  }

  /** Lets go of it; the program goes on. Nothing is told any more. */
  abandon(): void {
    this.#close(new ServiceError('cancelled', 'detached'));
  }

  // What the sandbox's side calls.

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
