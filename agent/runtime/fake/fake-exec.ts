/** One exec of the fake supervisor: output is kept for reattachment, the exit until it is acknowledged. */
import type { Json, MuxStream, StreamHandler } from '../../../src/mux/index.ts';
import { Channel } from '../../../src/protocol/frames.ts';
import type { SupervisorExec, SupervisorExit } from '../../../src/protocol/supervisor.ts';
import { findProgram, shell, type FakeProcess } from './programs.ts';

type Output = 'stdout' | 'stderr';
const CHANNEL: Record<Output, number> = { stdout: Channel.STDOUT, stderr: Channel.STDERR };

/** All output of one channel, of which only the latest `max` bytes are kept. */
class Kept {
  total = 0;
  #bytes = Buffer.alloc(0);
  readonly #max: number;
  constructor(max: number) {
    this.#max = max;
  }
  push(bytes: Uint8Array): void {
    this.total += bytes.length;
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
    if (this.#bytes.length > this.#max) this.#bytes = this.#bytes.subarray(this.#bytes.length - this.#max);
  }
  /** The kept bytes from this offset on, and the offset of the first. */
  from(offset: number): { start: number; bytes: Uint8Array } {
    const first = this.total - this.#bytes.length;
    const start = Math.min(Math.max(offset, first), this.total);
    return { start, bytes: this.#bytes.subarray(start - first) };
  }
}

export class FakeExec {
  readonly id: string;
  readonly pid: number;
  readonly background: boolean;
  readonly startedAtMs = Date.now();
  exit: SupervisorExit | null = null;
  readonly #request: SupervisorExec;
  readonly #kept: Record<Output, Kept>;
  readonly #killed = new AbortController();
  readonly #stdin: (Uint8Array | undefined)[] = [];
  #reader: (() => void) | null = null;
  #signal: string | null = null;
  #timedOut = false;
  #stdinBytes = 0;
  #stream: MuxStream | null = null;
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #onAcknowledged: () => void;

  constructor(request: SupervisorExec, pid: number, onAcknowledged: () => void) {
    this.#request = request;
    this.id = request.id;
    this.pid = pid;
    this.background = request.background ?? false;
    this.#kept = { stdout: new Kept(request.ringBytes), stderr: new Kept(request.ringBytes) };
    this.#onAcknowledged = onAcknowledged;
    if (!request.stdin) this.#stdin.push(undefined);
    if (request.timeoutMs !== undefined) {
      this.#timer = setTimeout(() => {
        this.#timedOut = true;
        this.kill('TERM');
      }, request.timeoutMs);
    }
  }

  get known(): boolean {
    const { argv } = this.#request;
    return argv === undefined || findProgram(argv[0] ?? '') !== undefined;
  }

  totals(): { stdoutBytes: number; stderrBytes: number } {
    return { stdoutBytes: this.#kept.stdout.total, stderrBytes: this.#kept.stderr.total };
  }

  get stdinBytes(): number {
    return this.#stdinBytes;
  }

  run(): void {
    const began = performance.now();
    const { argv, script } = this.#request;
    const work =
      argv === undefined ? shell(script ?? '', this.#process([])) : findProgram(argv[0] ?? '')?.(this.#process(argv));
    const done = (code: number): void => {
      clearTimeout(this.#timer);
      const signal = this.#signal;
      this.exit = {
        type: 'exit',
        exitCode: signal === null ? code : signal === 'KILL' ? 137 : 143,
        signal,
        timedOut: this.#timedOut,
        oomKilled: false,
        ...this.totals(),
        durationMs: performance.now() - began,
      };
      this.#sayExit();
    };
    (work ?? Promise.resolve(127)).then(done, () => done(143));
  }

  kill(signal: string): void {
    if (this.exit !== null) return;
    this.#signal = signal;
    this.#killed.abort();
    this.#reader?.();
  }

  /** Sends the stream the output it has not seen, then new output. Detaches an earlier stream. */
  join(stream: MuxStream, offsets: { stdout: number; stderr: number }, answer: Json): StreamHandler {
    this.#stream = stream;
    let ended = false;
    queueMicrotask(() => {
      stream.accept(answer);
      for (const name of ['stdout', 'stderr'] as const) this.#replay(stream, name, offsets[name]);
      this.#sayExit();
    });
    return {
      data: (_channel, bytes) => {
        this.#stdinBytes += bytes.length;
        const length = bytes.length;
        this.#feed(new Uint8Array(bytes));
        stream.consume(length);
      },
      event: (message) => {
        if (message['type'] === 'kill') this.kill('KILL');
        if (message['type'] === 'signal') this.kill(String(message['signal']));
      },
      fin: (channel) => {
        if (channel === Channel.STDIN) this.#feed(undefined);
        if (channel !== Channel.ALL) return;
        ended = true;
        if (this.exit !== null) this.#onAcknowledged();
      },
      closed: () => {
        if (this.#stream === stream) this.#stream = null;
        if (!ended && this.#request.detachedMs === 0 && !this.background) this.kill('KILL');
      },
    };
  }

  #replay(stream: MuxStream, name: Output, offset: number): void {
    const { start, bytes } = this.#kept[name].from(offset);
    if (start > offset) stream.event({ type: 'output_lost', channel: name, from: offset, to: start });
    void stream.write(CHANNEL[name], bytes);
  }

  #sayExit(): void {
    const stream = this.#stream;
    if (this.exit === null || stream === null || stream.closed) return;
    stream.event({ ...this.exit });
    stream.end();
  }

  #feed(bytes: Uint8Array | undefined): void {
    this.#stdin.push(bytes);
    this.#reader?.();
  }

  #process(argv: string[]): FakeProcess {
    const write = async (name: Output, bytes: Uint8Array): Promise<void> => {
      this.#killed.signal.throwIfAborted();
      this.#kept[name].push(bytes);
      await this.#stream?.write(CHANNEL[name], bytes);
      // A program that never waits would starve everything else in this process.
      await new Promise((resolve) => setImmediate(resolve));
    };
    return {
      argv,
      env: this.#request.env,
      cwd: this.#request.cwd,
      signal: this.#killed.signal,
      stdout: (bytes) => write('stdout', bytes),
      stderr: (bytes) => write('stderr', bytes),
      read: async () => {
        while (this.#stdin.length === 0) {
          this.#killed.signal.throwIfAborted();
          await new Promise<void>((resolve) => (this.#reader = resolve));
          this.#reader = null;
        }
        const next = this.#stdin.shift();
        if (next === undefined) this.#stdin.push(undefined);
        return next;
      },
    };
  }
}
