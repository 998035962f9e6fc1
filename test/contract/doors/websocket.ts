/** The WebSocket, frame by frame as in docs/protocol.md, without the SDK. */
import { createMux, dialWs, type Json, type Mux, type MuxStream } from '../../../src/mux/index.ts';
import { ServiceError } from '../../../src/protocol/errors.ts';
import { ExecExit } from '../../../src/protocol/exec.ts';
import { Channel } from '../../../src/protocol/frames.ts';
import { MAX_DATA_BYTES } from '../../../src/protocol/limits.ts';
import type { TestStack } from '../../helpers/stack.ts';
import { until } from '../../helpers/until.ts';
import type { BytesOutcome, Command, Door, Live, LiveOptions, Outcome, Piece, RunOptions, Running } from '../door.ts';

const WAIT_MS = 60_000;
const MAX_TEXT_IN_OPEN = 64 * 1024;

export class WebSocketDoor implements Door {
  readonly name = 'WebSocket';
  readonly lacks = {
    cap: 'a stream is never cut, only held back',
    conflict: 'an id is free again once its exit was taken',
    jobs: 'they are listed and read over REST',
  };
  readonly hurry = 200;
  readonly #stack: TestStack;
  #shared: Promise<Mux> | undefined;

  constructor(stack: TestStack) {
    this.#stack = stack;
  }

  async run(sandbox: string, command: Command, options: RunOptions = {}): Promise<Outcome> {
    const exec = await this.#exec(sandbox, command, options);
    const exit = await exec.ended;
    // One decoder each: a character may be split across frames.
    const text = (channel: Piece['channel']): string => {
      const decoder = new TextDecoder();
      const pieces = exec.pieces.filter((piece) => piece.channel === channel);
      return pieces.map(({ bytes }) => decoder.decode(bytes, { stream: true })).join('') + decoder.decode();
    };
    return {
      ...exit,
      stdout: text('stdout'),
      stderr: text('stderr'),
      truncated: { stdout: false, stderr: false },
      queueMs: exec.queueMs,
    };
  }

  async runBytes(sandbox: string, command: Command, options: RunOptions = {}): Promise<BytesOutcome> {
    const exec = await this.#exec(sandbox, command, options);
    const { exitCode } = await exec.ended;
    return { exitCode, stdout: exec.bytes('stdout'), stderr: exec.bytes('stderr') };
  }

  async start(sandbox: string, command: Command): Promise<Running> {
    const exec = await this.#exec(sandbox, command);
    return {
      saw: (text) => exec.saw(text),
      signal: (signal) => Promise.resolve(exec.stream.urgent({ type: 'signal', signal })),
      kill: () => Promise.resolve(exec.stream.urgent({ type: 'kill' })),
      ended: async () => ({ ...(await exec.ended), stdout: exec.bytes('stdout').toString() }),
    };
  }

  async live(sandbox: string, command: Command, options: LiveOptions = {}): Promise<Live> {
    const open = { op: 'exec', sandbox, ...program(command), ...options };
    return new FramedExec(await this.#connect(), open, true);
  }

  async attach(sandbox: string, id: string): Promise<Live> {
    return new FramedExec(await this.#connect(), { op: 'attach', sandbox, id }, true);
  }

  async abandon(sandbox: string, command: string): Promise<void> {
    const exec = new FramedExec(await this.#connect(), { op: 'exec', sandbox, command, detachedMs: 500 }, true);
    await exec.opened;
    await exec.leave();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    (await this.#shared)?.close();
  }

  async #exec(sandbox: string, command: Command, options: RunOptions = {}): Promise<FramedExec> {
    const { stdin, key, ...fields } = options;
    const open = {
      op: 'exec',
      sandbox,
      ...program(command),
      ...fields,
      ...(key === undefined ? {} : { id: key }),
      ...(stdin === undefined ? {} : { stdin: true }),
    };
    const exec = new FramedExec(await (this.#shared ??= this.#connect()), open, false);
    if ('scriptBytes' in open) await send(exec.stream, Channel.SCRIPT, Buffer.from(command as string));
    if (stdin !== undefined) void send(exec.stream, Channel.STDIN, Buffer.from(stdin as Buffer));
    return exec;
  }

  async #connect(): Promise<Mux> {
    const transport = await dialWs(`${this.#stack.url.replace('http', 'ws')}/v1/ws`, {
      subprotocol: 'millibox.v1',
      headers: { authorization: `Bearer ${this.#stack.apiKey}` },
      deadlineMs: WAIT_MS,
    });
    return createMux({ transport, role: 'dialler', hello: { generation: 1 }, onHello: () => undefined });
  }
}

/** The part of an OPEN that says what to run. A long script follows as data. */
function program(command: Command): Json {
  if (typeof command !== 'string') return { argv: [...command] };
  const bytes = Buffer.byteLength(command);
  return bytes > MAX_TEXT_IN_OPEN ? { scriptBytes: bytes } : { command };
}

async function send(stream: MuxStream, channel: number, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length && !stream.closed; at += MAX_DATA_BYTES) {
    await stream.write(channel, bytes.subarray(at, at + MAX_DATA_BYTES));
  }
  if (!stream.closed) stream.fin(channel);
}

/** One exec stream, with everything received on it. */
class FramedExec implements Live {
  readonly stream: MuxStream;
  readonly pieces: Piece[] = [];
  readonly lost: { channel: string; from: number; to: number }[] = [];
  readonly ended: Promise<ExecExit>;
  readonly opened: Promise<Json>;
  id: string;
  queueMs = 0;
  readonly #mux: Mux;

  /** @param own the connection is closed with the stream */
  constructor(mux: Mux, request: Json, own: boolean) {
    const ended = Promise.withResolvers<ExecExit>();
    const opened = Promise.withResolvers<Json>();
    ended.promise.catch(() => undefined);
    opened.promise.catch(() => undefined);
    this.#mux = mux;
    this.ended = ended.promise;
    this.opened = opened.promise;
    this.id = typeof request['id'] === 'string' ? request['id'] : '';
    this.stream = mux.open(request, {
      opened: (answer) => {
        if (typeof answer['execId'] === 'string') this.id = answer['execId'];
        this.queueMs = Number(answer['queueMs'] ?? 0);
        opened.resolve(answer);
      },
      data: (channel, bytes) => {
        this.pieces.push({ channel: channel === Channel.STDERR ? 'stderr' : 'stdout', bytes: Buffer.from(bytes) });
        this.stream.consume(bytes.length);
      },
      event: (message) => {
        if (message['type'] === 'output_lost') this.lost.push(message as unknown as (typeof this.lost)[0]);
        if (message['type'] !== 'exit') return;
        ended.resolve(ExecExit.parse(message));
        this.stream.end();
      },
      closed: (error) => {
        const why = error ?? new ServiceError('interrupted', 'the stream ended without an exit');
        opened.reject(why);
        ended.reject(why);
        if (own) mux.close();
      },
    });
  }

  bytes(channel: Piece['channel']): Buffer {
    return Buffer.concat(this.pieces.filter((piece) => piece.channel === channel).map(({ bytes }) => bytes));
  }

  async saw(text: string): Promise<void> {
    const all = (): string => Buffer.concat(this.pieces.map(({ bytes }) => bytes)).toString();
    await until(() => all().includes(text), WAIT_MS, `${text} in the output`);
  }

  async write(data: string | Buffer): Promise<void> {
    await this.stream.write(Channel.STDIN, Buffer.from(data as Buffer));
  }

  closeStdin(): void {
    this.stream.fin(Channel.STDIN);
  }

  leave(): Promise<void> {
    this.#mux.close();
    return Promise.resolve();
  }
}
