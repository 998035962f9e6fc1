/**
 * Reading a window of a command's output. The node keeps the output of a job on its disk; of any other ended command,
 * it still has the last MiB.
 */
import { ByteAccumulator } from '../../lib/byte-accumulator.ts';
import type { Opener } from '../nodes/unary.ts';
import type { MuxStream } from '../../mux/index.ts';
import { ServiceError } from '../../protocol/errors.ts';
import type { ExecState } from '../../protocol/exec.ts';
import { Channel } from '../../protocol/frames.ts';
import { MAX_MAX_OUTPUT_BYTES } from '../../protocol/limits.ts';
import type { NodeOpen } from '../../protocol/node.ts';
import { AttachConflict } from './attach-retry.ts';

export interface WindowRequest {
  channel: 'stdout' | 'stderr';
  /** From the start; negative: from the end. */
  offset: number;
  length?: number | undefined;
  /** How long to wait for more when the window starts at the end of a running command's output. */
  waitMs?: number | undefined;
}

export interface OutputWindow {
  bytes: Buffer;
  /** Offset of the first byte. */
  offset: number;
  /** Bytes written to this channel so far. */
  total: number;
}

/** The read fails when nothing has arrived from the node for this long. */
const SILENCE_MS = 30_000;

/**
 * The available bytes of the window: fewer than its length at the end of the output, and before a gap.
 * @throws ServiceError `output_lost` with `{ from, to }` in details when the first byte is no longer kept,
 * `body_too_large`, `invalid_request` for a running command that another client is attached to, `AttachConflict` for
 * an ended one: attaching would take the output away from that client.
 */
export async function readOutput(
  node: Opener,
  sandbox: string,
  state: ExecState,
  window: WindowRequest,
  signal?: AbortSignal,
): Promise<OutputWindow> {
  const runs = state.state === 'running';
  if (!state.background && !runs && state.attached === true) throw new AttachConflict();
  if (!state.background && runs) {
    throw new ServiceError('invalid_request', 'another client is attached to this command and receives its output');
  }
  const total = window.channel === 'stdout' ? state.stdoutBytes : state.stderrBytes;
  const offset = window.offset < 0 ? Math.max(0, total + window.offset) : window.offset;
  const there = Math.min(window.length ?? Infinity, Math.max(0, total - offset));
  const waitMs = runs && offset === total && window.length !== 0 ? (window.waitMs ?? 0) : 0;
  if (there === 0 && waitMs === 0) return { bytes: Buffer.alloc(0), offset: Math.min(offset, total), total };
  if (there > MAX_MAX_OUTPUT_BYTES) {
    throw new ServiceError('body_too_large', `a window has at most ${MAX_MAX_OUTPUT_BYTES} bytes`);
  }
  const length = there === 0 ? Math.min(window.length ?? MAX_MAX_OUTPUT_BYTES, MAX_MAX_OUTPUT_BYTES) : there;
  const reading = new Reading({ window, offset, length, total, waits: there === 0 });
  const timer = setTimeout(() => reading.timeIsUp(), there === 0 ? waitMs : SILENCE_MS);
  const onAbort = (): void => reading.stop(ServiceError.from(signal?.reason));
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    if (signal?.aborted) onAbort();
    const others = { stdout: state.stdoutBytes, stderr: state.stderrBytes };
    reading.open(node, { op: 'attach', sandbox, id: state.execId, ...others, [window.channel]: offset }, () =>
      timer.refresh(),
    );
    return await reading.done;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
    reading.close();
  }
}

interface ReadingOptions {
  window: WindowRequest;
  offset: number;
  length: number;
  total: number;
  /** There is no output yet: the first bytes that arrive end the read. */
  waits: boolean;
}

class Reading {
  readonly #options: ReadingOptions;
  readonly #done = Promise.withResolvers<OutputWindow>();
  readonly #bytes = new ByteAccumulator();
  #stream: MuxStream | null = null;
  #start: number;
  #got = 0;

  constructor(options: ReadingOptions) {
    this.#options = options;
    this.#start = options.offset;
    this.#done.promise.catch(() => undefined);
  }

  get done(): Promise<OutputWindow> {
    return this.#done.promise;
  }

  open(node: Opener, request: NodeOpen, heard: () => void): void {
    const { window, waits } = this.#options;
    const wanted = window.channel === 'stdout' ? [Channel.STDOUT, Channel.PTY] : [Channel.STDERR];
    const stream = node.open(request, {
      data: (channel, bytes) => {
        stream.consume(bytes.length);
        if (!wanted.some((one) => one === channel)) return;
        if (!waits) heard();
        this.#take(bytes);
      },
      event: (message) => {
        if (message['type'] === 'exit') this.#finish();
        if (message['type'] === 'output_lost' && message['channel'] === window.channel) {
          this.#lost(Number(message['to']));
        }
      },
      // That was all: less than announced if some of it was discarded meanwhile.
      fin: (channel) => {
        if (channel === Channel.ALL) this.#finish();
      },
      closed: (error) => this.#done.reject(error ?? new ServiceError('interrupted')),
    });
    this.#stream = stream;
  }

  /** For a read that waits for output, no output is a valid answer; any other read should have got some. */
  timeIsUp(): void {
    if (this.#options.waits) return this.#finish();
    this.#done.reject(new ServiceError('deadline_exceeded', 'the node does not send the output'));
  }

  /** The caller went away, or the gateway drains: a read that waits ends early, any other completes on a drain. */
  stop(reason: ServiceError): void {
    if (this.#options.waits) this.#finish();
    else if (reason.code === 'cancelled') this.#done.reject(reason);
  }

  /** A reset does not acknowledge the exit: the node keeps it. */
  close(): void {
    this.#stream?.reset(new ServiceError('cancelled'));
  }

  #take(bytes: Uint8Array): void {
    const { offset, length, waits } = this.#options;
    const kept = bytes.subarray(0, Math.max(0, offset + length - this.#start - this.#got));
    this.#bytes.push(kept);
    this.#got += kept.length;
    if (waits || this.#start + this.#got >= offset + length) this.#finish();
  }

  #lost(to: number): void {
    const { window, offset, length } = this.#options;
    // A gap in the middle ends this window; the next one begins in the gap and reports it.
    if (this.#got > 0) return this.#finish();
    if (window.offset >= 0) {
      return this.#done.reject(new ServiceError('output_lost', undefined, { details: { from: this.#start, to } }));
    }
    this.#start = Math.min(to, offset + length);
    if (this.#start >= offset + length) this.#finish();
  }

  #finish(): void {
    const end = this.#start + this.#got;
    const total = Math.max(this.#options.total, end);
    this.#done.resolve({ bytes: Buffer.concat(this.#bytes.take(), this.#got), offset: this.#start, total });
  }
}
