/**
 * Where a command's output goes. Until the handle is awaited or iterated, output is held and no credit is returned: the
 * command blocks once a window is full. When awaited, output is collected up to a cap and the rest drained; when
 * iterated, the reader sets the pace.
 */
import { StringDecoder } from 'node:string_decoder';
import { CappedBuffer } from './capped-buffer.ts';
import { NO_CREDIT, OutputBuffer, isChunk, type Credit, type OutputChunk } from './output-buffer.ts';
import type { ChannelName, ExecOutputEvent, Output } from './result.ts';

export type { Credit };
type OutputCallback = (data: never) => unknown;

interface OutputOptions {
  bytes: boolean;
  maxBytes: number;
  /** The memory of iterated chunks is reused. */
  lend: boolean;
  /** Offsets of the first bytes. */
  from: Record<ChannelName, number>;
  onStdout?: OutputCallback | undefined;
  onStderr?: OutputCallback | undefined;
  /** One of the caller's callbacks failed. */
  onFailure(error: unknown): void;
}

interface Channel {
  captured: CappedBuffer;
  decoder: StringDecoder;
  callback: ((data: Output) => unknown) | undefined;
}

const NAMES = ['stdout', 'stderr'] as const;

export class ExecOutput {
  readonly #options: OutputOptions;
  readonly #channels: Record<ChannelName, Channel>;
  #mode: 'held' | 'unblocked' | 'collect' | 'iterate' | 'discard' = 'held';
  /** Held output, or output that waits for the iterator. Bounded by the credit not yet returned. */
  readonly #queue: OutputBuffer;
  /** The chain of callbacks, which run one after the other. Null: none is running. */
  #callbacks: Promise<void> | null = null;
  #ended = false;
  #error: Error | null = null;
  /** The chunk that the iterating caller is currently using. */
  #given: OutputChunk | null = null;
  /** Set while the iterating caller waits for more. */
  #waiting: PromiseWithResolvers<void> | null = null;

  constructor(options: OutputOptions) {
    this.#options = options;
    this.#queue = new OutputBuffer(options.lend, options.from);
    this.#channels = {
      stdout: channel(options.maxBytes, options.onStdout),
      stderr: channel(options.maxBytes, options.onStderr),
    };
    if (options.onStdout !== undefined || options.onStderr !== undefined) this.#mode = 'collect';
  }

  /** Takes bytes that are valid only during the call. */
  push(name: ChannelName, bytes: Uint8Array, credit: Credit = NO_CREDIT): void {
    if (this.#mode === 'discard') return credit.consume(bytes.length);
    if (this.#mode === 'collect') return this.#collect(name, bytes, credit);
    if (this.#mode === 'unblocked') {
      this.#queue.keep(name, bytes);
      return credit.consume(bytes.length);
    }
    this.#queue.push(name, bytes, credit);
    this.#wake();
  }

  lost(name: ChannelName, from: number, to: number): void {
    if (this.#mode === 'collect' || this.#mode === 'discard') return;
    this.#queue.pushEvent({ type: 'output_lost', channel: name, from, to });
    this.#wake();
  }

  /** Nothing more follows. An error is thrown to the iterator. */
  end(last: ExecOutputEvent<Output> | Error): void {
    if (this.#ended) return;
    this.#ended = true;
    if (last instanceof Error) this.#error = last;
    else if (this.#readable) this.#queue.pushEvent(last);
    this.#wake();
  }

  /** Unblocks a command that nobody reads: one window is kept for a later reader, the rest is lost. */
  unblock(): void {
    if (this.#mode !== 'held') return;
    this.#mode = 'unblocked';
    this.#queue.release();
  }

  /** The result is awaited. Has no effect while the output is iterated. */
  collect(): void {
    if (this.#mode !== 'held' && this.#mode !== 'unblocked') return;
    // Nothing is collected after a gap: a result holds a prefix of the output.
    const rest = this.#queue.lossy ? 'discard' : 'collect';
    this.#mode = 'collect';
    for (let entry = this.#queue.shift(); entry !== undefined; entry = this.#queue.shift()) {
      if (!isChunk(entry)) continue;
      this.#collect(entry.channel, entry.buffer.subarray(0, entry.used), entry.credit);
      this.#queue.free(entry);
    }
    this.#mode = rest;
  }

  /** Drops the rest of the output. */
  discard(): void {
    this.#mode = 'discard';
    for (let entry = this.#queue.shift(); entry !== undefined; entry = this.#queue.shift()) {
      if (!isChunk(entry)) continue;
      entry.credit.consume(entry.used);
      this.#queue.free(entry);
    }
  }

  /** Resolves when the callbacks have received everything. */
  async flushed(): Promise<void> {
    while (this.#callbacks !== null) await this.#callbacks;
    for (const name of NAMES) {
      const rest = this.#endOfText(name);
      if (rest !== '') await this.#call(name, rest);
    }
  }

  /** @param written bytes written by the command: if the text was cut, an incomplete last character is dropped */
  result(name: ChannelName, written: number): { data: Output; bytes: number } {
    const { captured } = this.#channels[name];
    const bytes = captured.toBuffer();
    if (this.#options.bytes) return { data: bytes, bytes: captured.bytes };
    const cut = captured.bytes < written;
    return { data: cut ? new StringDecoder('utf8').write(bytes) : bytes.toString('utf8'), bytes: captured.bytes };
  }

  /**
   * For the iterator: the next event, undefined while there is none, null after the last. The credit of a chunk is
   * returned when the next one is requested.
   * @throws TypeError when the output is collected instead, and the error of the command
   */
  take(): ExecOutputEvent<Output> | undefined | null {
    if (this.#mode === 'held' || this.#mode === 'unblocked') this.#mode = 'iterate';
    this.#giveBack();
    for (let entry = this.#queue.shift(); entry !== undefined; entry = this.#queue.shift()) {
      if (isChunk(entry)) {
        this.#given = entry;
        const data = this.#decode(entry.channel, entry.buffer.subarray(0, entry.used));
        if (data.length > 0) return { type: entry.channel, data };
        this.#giveBack();
      } else if (entry.type === 'exit') {
        const rest = this.#restOfText();
        if (rest === null) return entry;
        this.#queue.putBack(entry);
        return rest;
      } else return entry;
    }
    if (this.#error !== null) throw this.#error;
    if (this.#mode === 'collect')
      throw new TypeError(
        'the output of this command is already collected: iterate before you await it, and without callbacks',
      );
    return this.#ended ? null : undefined;
  }

  /** Resolves when there is something to take, or the iterator has left. */
  more(): Promise<void> {
    this.#waiting ??= Promise.withResolvers();
    return this.#waiting.promise;
  }

  /** The iterator was left. */
  leave(): void {
    this.#giveBack();
    this.#wake();
  }

  /** There is or will be something to take. */
  get unread(): boolean {
    return this.#readable && !(this.#ended && this.#queue.empty);
  }

  get #readable(): boolean {
    return this.#mode !== 'collect' && this.#mode !== 'discard';
  }

  #giveBack(): void {
    const chunk = this.#given;
    if (chunk === null) return;
    this.#given = null;
    chunk.credit.consume(chunk.used);
    this.#queue.free(chunk);
  }

  #wake(): void {
    this.#waiting?.resolve();
    this.#waiting = null;
  }

  #restOfText(): ExecOutputEvent<Output> | null {
    for (const type of NAMES) {
      const data = this.#endOfText(type);
      if (data !== '') return { type, data };
    }
    return null;
  }

  #collect(name: ChannelName, bytes: Uint8Array, credit: Credit): void {
    const { captured, callback } = this.#channels[name];
    if (!captured.full) captured.add(bytes);
    if (callback === undefined) return credit.consume(bytes.length);
    const { length } = bytes;
    const data = this.#decode(name, Buffer.from(bytes));
    const before = this.#callbacks;
    const work = (async () => {
      await before;
      if (data.length > 0) await this.#call(name, data);
      credit.consume(length);
    })();
    this.#callbacks = work;
    void work.then(() => {
      if (this.#callbacks === work) this.#callbacks = null;
    });
  }

  /** Never rejects: a callback that fails is reported. */
  async #call(name: ChannelName, data: Output): Promise<void> {
    try {
      await this.#channels[name].callback?.(data);
    } catch (error) {
      this.#options.onFailure(error);
    }
  }

  #decode(name: ChannelName, bytes: Buffer): Output {
    return this.#options.bytes ? bytes : this.#channels[name].decoder.write(bytes);
  }

  /** The incomplete character that the decoder still holds. */
  #endOfText(name: ChannelName): string {
    return this.#options.bytes ? '' : this.#channels[name].decoder.end();
  }
}

function channel(maxBytes: number, callback: OutputCallback | undefined): Channel {
  const call = callback as ((data: Output) => unknown) | undefined;
  return { captured: new CappedBuffer(maxBytes), decoder: new StringDecoder('utf8'), callback: call };
}
