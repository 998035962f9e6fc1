/**
 * One command of a Connect client from start to end, across the client's streams, which it may lose and open again.
 */
import type { MuxStream } from '../../../../mux/index.ts';
import { ServiceError } from '../../../../protocol/errors.ts';
import type { ExecExit, ExecOpened, SignalName } from '../../../../protocol/exec.ts';
import { Channel } from '../../../../protocol/frames.ts';
import { CommandStream, type Offsets } from '../../../execs/command-stream.ts';
import type { Program } from '../../../execs/program.ts';
import type { ExecService } from '../../../execs/service.ts';
import { Input } from './input.ts';
import { CallDeduplicator } from './call-deduplicator.ts';
import { Output, type Event } from './output.ts';

export interface SessionOptions {
  execs: Pick<ExecService, 'locate' | 'signal'>;
  tenant: string;
  program: Program;
  /** How long to look for the command after its link was cut. */
  resumeMs: number;
  /** Continue a command that another gateway has started, at these offsets. */
  attachAt?: Offsets;
}

export class Session {
  readonly id: string;
  readonly sandbox: string;
  readonly inputs = new CallDeduplicator();
  readonly signals = new CallDeduplicator();
  readonly #options: SessionOptions;
  readonly #started = Promise.withResolvers<number>();
  readonly #over = Promise.withResolvers<void>();
  readonly #output = new Output();
  readonly #input = new Input();
  readonly #command: CommandStream;
  /** Reports to the open stream how many of its bytes a client has taken. */
  #taken: (bytes: number) => void = () => undefined;
  #timedOut = false;

  constructor(options: SessionOptions) {
    const { execs, tenant, program, resumeMs, attachAt } = options;
    const { open } = program;
    this.#options = options;
    this.id = open.id ?? '';
    this.sandbox = open.sandbox;
    this.#started.promise.catch(() => undefined);
    this.#command = new CommandStream({
      program,
      resumeMs,
      attachAt,
      // From its exit on, this session keeps it for callers that ask again.
      keepExit: false,
      locate: (signal) => execs.locate(tenant, this.sandbox, signal),
      listener: {
        opened: (answer, stream) => this.#onOpened(answer, stream),
        output: (channel, bytes) => this.#output.push(nameOf(channel), bytes, this.#taken),
        disconnected: () => this.#input.disconnected(),
        exited: (exit) => this.#onExit(exit),
        failed: (error) => this.#onFailed(error),
      },
    });
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
    if (!this.running) throw hasEnded();
    await this.#input.write(bytes);
  }

  /** Does nothing when the command has ended. */
  async signal(name: SignalName, all: boolean): Promise<void> {
    await this.started;
    if (!this.running) return;
    const { execs, tenant } = this.#options;
    await execs.signal(tenant, this.sandbox, this.id, { signal: name, all });
  }

  /** Kills the command; one that has not been sent to a node yet never is. */
  kill(): void {
    this.#command.kill();
  }

  #onOpened({ pid, stdinBytes }: ExecOpened, stream: MuxStream): void {
    // Credit goes back to the stream that delivered the bytes, even if another one is current when they are taken.
    this.#taken = (bytes) => stream.consume(bytes);
    if (this.#options.program.open.stdin === true) this.#input.connected(stream, stdinBytes);
    this.#started.resolve(pid ?? 0);
  }

  #onExit({ exitCode, signal, timedOut }: ExecExit): void {
    this.#timedOut = timedOut;
    this.#output.finish(exitCode, signal);
    this.#settle(hasEnded());
  }

  #onFailed(error: ServiceError): void {
    this.#output.fail(error);
    this.#started.reject(error);
    this.#settle(error);
  }

  #settle(error: ServiceError): void {
    this.#input.fail(error);
    this.#over.resolve();
  }
}

const hasEnded = (): ServiceError => new ServiceError('exec_not_found', 'the process has ended');

function nameOf(channel: number): 'stdout' | 'stderr' | 'pty' {
  if (channel === Channel.STDERR) return 'stderr';
  return channel === Channel.PTY ? 'pty' : 'stdout';
}
