/** A gateway in the same process, for tests of the SDK: execs over memory transports, cut wherever a test wants. */
import type { GatewayHello } from '../../protocol/client.ts';
import { Channel } from '../../protocol/frames.ts';
import { ServiceError } from '../../protocol/errors.ts';
import {
  createMux,
  memoryPair,
  type Json,
  type MemoryPair,
  type Mux,
  type MuxStream,
  type StreamHandler,
  type Transport,
} from '../../mux/index.ts';
import type { Dial } from '../connection.ts';

/** What a fake program can do. */
interface FakeProcess {
  readonly request: Json;
  readonly stdin: Buffer[];
  /** Resolves when stdin has ended. */
  readonly stdinEnded: Promise<Buffer>;
  /** Resolves when the script has arrived. */
  readonly scriptEnded: Promise<void>;
  /** Resolves once the attached reader has taken the bytes. */
  write(channel: 'stdout' | 'stderr', bytes: string | Buffer): Promise<void>;
  exit(exitCode: number, more?: Json): void;
  /** Kills and signals received from clients. */
  readonly commands: Json[];
  readonly killed: Promise<void>;
}

export type FakeProgram = (process: FakeProcess) => void | Promise<void>;

class Running implements FakeProcess {
  readonly request: Json;
  readonly stdin: Buffer[] = [];
  readonly commands: Json[] = [];
  stdinBytes = 0;
  script = Buffer.alloc(0);
  readonly #stdinEnd = Promise.withResolvers<Buffer>();
  readonly #scriptEnd = Promise.withResolvers<void>();
  readonly #kill = Promise.withResolvers<void>();
  /** Everything ever written, and the position of the attached stream. */
  readonly #output = { stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) };
  readonly #sent = { stdout: 0, stderr: 0 };
  #exit: Json | null = null;
  #stream: MuxStream | null = null;
  #pumping = false;
  acknowledged = false;

  constructor(request: Json) {
    this.request = request;
  }

  get stdinEnded(): Promise<Buffer> {
    return this.#stdinEnd.promise;
  }
  get scriptEnded(): Promise<void> {
    return this.#scriptEnd.promise;
  }
  get killed(): Promise<void> {
    return this.#kill.promise;
  }

  /** Whether a reader is attached, over a working link. */
  get listened(): boolean {
    return this.#stream !== null && !this.#stream.closed;
  }

  /** Another reader, which does not stay, takes over the command. */
  takeAway(): void {
    this.#stream?.reset(new ServiceError('cancelled', 'another client has taken over this exec'));
    this.#stream = null;
  }

  attach(stream: MuxStream, offsets: { stdout: number; stderr: number }): void {
    this.#stream = stream;
    Object.assign(this.#sent, offsets);
    void this.#pump();
  }

  detach(stream: MuxStream): void {
    if (this.#stream === stream) this.#stream = null;
  }

  async write(channel: 'stdout' | 'stderr', bytes: string | Buffer): Promise<void> {
    this.#output[channel] = Buffer.concat([this.#output[channel], Buffer.from(bytes as Buffer)]);
    await this.#pump();
  }

  exit(exitCode: number, more: Json = {}): void {
    this.#exit = {
      type: 'exit',
      exitCode,
      signal: null,
      timedOut: false,
      oomKilled: false,
      stdoutBytes: this.#output.stdout.length,
      stderrBytes: this.#output.stderr.length,
      durationMs: 1,
      ...more,
    };
    void this.#pump();
  }

  command(message: Json): void {
    this.commands.push(message);
    if (message['type'] === 'kill') this.#kill.resolve();
  }

  takeStdin(bytes: Uint8Array): void {
    this.stdin.push(Buffer.from(bytes));
    this.stdinBytes += bytes.length;
  }

  endScript(): void {
    this.#scriptEnd.resolve();
  }

  endStdin(): void {
    this.#stdinEnd.resolve(Buffer.concat(this.stdin));
  }

  async #pump(): Promise<void> {
    if (this.#pumping) return;
    this.#pumping = true;
    for (;;) {
      const stream = this.#stream;
      if (stream === null || stream.closed) break;
      const channel = (['stdout', 'stderr'] as const).find((name) => this.#sent[name] < this.#output[name].length);
      if (channel !== undefined) {
        const from = this.#sent[channel];
        const piece = this.#output[channel].subarray(from, from + 10_000);
        this.#sent[channel] += piece.length;
        await stream.write(channel === 'stdout' ? Channel.STDOUT : Channel.STDERR, piece);
      } else {
        if (this.#exit !== null) {
          stream.event(this.#exit);
          stream.end();
        }
        break;
      }
    }
    this.#pumping = false;
  }
}

export class FakeGateway {
  readonly execs = new Map<string, Running>();
  /** How many programs were started: never more than one per id. */
  starts = 0;
  dials = 0;
  links: MemoryPair[] = [];
  /** Of the next links. */
  hello: GatewayHello = { generation: 1 };
  /** Called for each dial: may throw, or change what the link does. */
  onDial: () => void = () => undefined;
  /** Answers for streams that are not execs. */
  onOther: (stream: MuxStream) => StreamHandler = () => {
    throw new ServiceError('not_supported');
  };
  /** Between OPEN and start. */
  beforeStart: (request: Json) => Promise<void> | void = () => undefined;
  /** How many of the next calls get no answer, as over a link that has gone silent. */
  unanswered = 0;
  readonly #program: FakeProgram;
  readonly #muxes: Mux[] = [];

  constructor(program: FakeProgram) {
    this.#program = program;
  }

  readonly dial: Dial = (): Promise<Transport> => {
    this.dials += 1;
    try {
      this.onDial();
    } catch (error) {
      return Promise.reject(error as Error);
    }
    const link = memoryPair();
    this.links.push(link);
    const mux = createMux({
      transport: link.b,
      role: 'listener',
      hello: this.hello,
      onHello: () => undefined,
      onOpen: (stream) => this.serve(stream),
    });
    this.#muxes.push(mux);
    return Promise.resolve(link.a);
  };

  /** A stream that a client has opened, over whichever link. */
  serve(stream: MuxStream): StreamHandler {
    if (this.unanswered > 0) {
      this.unanswered -= 1;
      return {};
    }
    if (stream.request['op'] === 'exec') return this.#exec(stream);
    if (stream.request['op'] === 'attach') return this.#attach(stream);
    return this.onOther(stream);
  }

  goaway(): void {
    for (const mux of this.#muxes) mux.goaway();
  }

  cut(): void {
    for (const link of this.links.splice(0)) link.cut();
  }

  #exec(stream: MuxStream) {
    const id = String(stream.request['id']);
    const known = this.execs.get(id);
    const running = known ?? new Running(stream.request);
    this.execs.set(id, running);
    const begin = async (): Promise<void> => {
      await this.beforeStart(stream.request);
      stream.accept({ pid: 7, queueMs: 3, ...(known === undefined ? {} : { adopted: true }) });
      if (known === undefined) {
        this.starts += 1;
        await this.#program(running);
      }
    };
    void begin().catch((error: unknown) => stream.refuse(ServiceError.from(error)));
    running.attach(stream, { stdout: 0, stderr: 0 });
    return this.#handler(stream, running);
  }

  #attach(stream: MuxStream) {
    const running = this.execs.get(String(stream.request['id']));
    if (running === undefined) throw new ServiceError('exec_not_found');
    stream.accept({ pid: 7, stdinBytes: running.stdinBytes });
    running.attach(stream, { stdout: Number(stream.request['stdout']), stderr: Number(stream.request['stderr']) });
    return this.#handler(stream, running);
  }

  #handler(stream: MuxStream, running: Running) {
    return {
      data: (channel: number, bytes: Uint8Array) => {
        if (channel === Channel.SCRIPT) running.script = Buffer.concat([running.script, bytes]);
        else running.takeStdin(bytes);
        stream.consume(bytes.length);
      },
      event: (message: Json) => running.command(message),
      fin: (channel: number) => {
        if (channel === Channel.STDIN) running.endStdin();
        if (channel === Channel.SCRIPT) running.endScript();
        if (channel === Channel.ALL) running.acknowledged = true;
      },
      closed: () => running.detach(stream),
    };
  }
}
