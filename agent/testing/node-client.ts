/** A gateway for tests: one node link, and the requests that tests make over it. */
import { createMux, dialNode, type Json, type Mux, type MuxStream } from '../../src/mux/index.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import type { ExecExit } from '../../src/protocol/exec.ts';
import { Channel } from '../../src/protocol/frames.ts';
import type { SandboxRecord, SandboxSpec, WatchEvent } from '../../src/protocol/node.ts';

const DIAL_MS = 20_000;

interface ExecOutcome {
  opened: Json;
  stdout: Buffer;
  stderr: Buffer;
  exit: ExecExit;
  events: Json[];
}

interface RunningExec {
  stream: MuxStream;
  /** Received so far; grows while `hold` is false. */
  readonly stdout: Buffer[];
  readonly opened: Promise<Json>;
  readonly outcome: Promise<ExecOutcome>;
}

export interface ExecOptions {
  stdin?: Uint8Array | string;
  /** Consume nothing: no credit is returned. */
  hold?: boolean;
  /** Leave the exit unacknowledged. */
  keepExit?: boolean;
}

export class NodeClient implements AsyncDisposable {
  readonly mux: Mux;
  readonly hello: Json;
  /** Resolves when the link is gone. */
  readonly gone: Promise<ServiceError | null>;

  private constructor(mux: Mux, hello: Json, gone: Promise<ServiceError | null>) {
    this.mux = mux;
    this.hello = hello;
    this.gone = gone;
  }

  static async dial(port: number, secret: string): Promise<NodeClient> {
    const { transport, checkHello } = await dialNode(`ws://127.0.0.1:${port}`, { secret, deadlineMs: DIAL_MS });
    const greeted = Promise.withResolvers<Json>();
    const gone = Promise.withResolvers<ServiceError | null>();
    const mux = createMux({
      transport,
      role: 'dialler',
      hello: { generation: 1 },
      onHello: (message) => greeted.resolve({ ...checkHello(message) }),
      onClose: (error) => {
        gone.resolve(error);
        greeted.reject(error ?? new ServiceError('interrupted'));
      },
    });
    return new NodeClient(mux, await greeted.promise, gone.promise);
  }

  /** One request, one answer. */
  call(request: Json): Promise<Json> {
    const { promise, resolve, reject } = Promise.withResolvers<Json>();
    const stream = this.mux.open(request, {
      opened: (answer) => {
        resolve(answer);
        stream.end();
      },
      closed: (error) => reject(error ?? new ServiceError('interrupted')),
    });
    return promise;
  }

  async create(spec: SandboxSpec): Promise<SandboxRecord> {
    return (await this.call({ op: 'create', spec })) as SandboxRecord;
  }

  async delete(sandbox: string): Promise<SandboxRecord> {
    return (await this.call({ op: 'delete', sandbox, reason: 'deleted' })) as SandboxRecord;
  }

  /** Opens an exec or attach stream. */
  start(request: Json, options: ExecOptions = {}): RunningExec {
    const opened = Promise.withResolvers<Json>();
    const outcome = Promise.withResolvers<ExecOutcome>();
    opened.promise.catch(() => undefined);
    outcome.promise.catch(() => undefined);
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    const events: Json[] = [];
    let answer: Json = {};
    let exit: Json | undefined;
    const finish = (): void => {
      if (exit === undefined) return outcome.reject(new ServiceError('interrupted', 'the end came without an exit'));
      const bytes = { stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr) };
      outcome.resolve({ opened: answer, ...bytes, exit: exit as unknown as ExecExit, events });
    };
    const withStdin = options.stdin === undefined ? {} : { stdin: true };
    const stream = this.mux.open(
      { ...request, ...withStdin },
      {
        opened: (message) => {
          answer = message;
          opened.resolve(message);
        },
        data: (channel, bytes) => {
          (channel === Channel.STDERR ? stderr : stdout).push(Buffer.from(bytes));
          if (options.hold !== true) stream.consume(bytes.length);
        },
        event: (message) => {
          events.push(message);
          if (message['type'] === 'exit') exit = message;
        },
        fin: (channel) => {
          if (channel !== Channel.ALL) return;
          finish();
          if (options.keepExit === true) stream.reset(new ServiceError('cancelled'));
          else stream.end();
        },
        closed: (error) => {
          opened.reject(error ?? new ServiceError('interrupted'));
          if (error !== null) outcome.reject(error);
          else finish();
        },
      },
    );
    if (options.stdin !== undefined) void this.#feed(stream, Buffer.from(options.stdin));
    return { stream, stdout, opened: opened.promise, outcome: outcome.promise };
  }

  exec(sandbox: string, program: Json, options: ExecOptions = {}): Promise<ExecOutcome> {
    return this.start({ op: 'exec', sandbox, ...program }, options).outcome;
  }

  /** The events of the node's `watch` stream, collected from now on. */
  watch(): WatchEvent[] {
    const events: WatchEvent[] = [];
    this.mux.open({ op: 'watch' }, { event: (message) => events.push(message as unknown as WatchEvent) });
    return events;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.mux.close();
    await this.gone;
  }

  async #feed(stream: MuxStream, bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; at += 32 * 1024) {
      await stream.write(Channel.STDIN, bytes.subarray(at, at + 32 * 1024));
    }
    if (!stream.closed) stream.fin(Channel.STDIN);
  }
}
