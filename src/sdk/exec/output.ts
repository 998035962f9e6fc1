/**
 * Where a command's output goes. Until somebody awaits or iterates, it is held and not taken: the command blocks once a
 * window is full. Awaited, it is collected up to a cap and the rest is drained; iterated, the reader sets the pace.
 */
import { StringDecoder } from 'node:string_decoder';
import type { ChannelName, ExecOutputEvent, Output } from './result.ts';

/** Gives credit back for bytes that the reader has taken. */
export interface Credit {
  consume(bytes: number): void;
}

export type OutputCallback = (data: never) => unknown;

interface OutputOptions {
  bytes: boolean;
  maxBytes: number;
  onStdout?: OutputCallback | undefined;
  onStderr?: OutputCallback | undefined;
  /** A callback of the caller's failed. */
  onFailure(error: unknown): void;
}

interface Held {
  channel: ChannelName;
  bytes: Buffer;
  credit: Credit;
}
type Entry = Held | ExecOutputEvent<Output>;

interface Collected {
  chunks: Buffer[];
  kept: number;
  truncated: boolean;
  decoder: StringDecoder;
}

const NO_CREDIT: Credit = { consume: () => undefined };

export class ExecOutput {
  readonly #options: OutputOptions;
  #mode: 'held' | 'collect' | 'iterate' | 'discard' = 'held';
  /** Held or waiting for the iterator. Bounded by the credit that is not given back. */
  #queue: Entry[] = [];
  #collected: Record<ChannelName, Collected> = { stdout: collected(), stderr: collected() };
  /** Callbacks run one after the other. Null: none is under way. */
  #callbacks: Promise<void> | null = null;
  #ended = false;
  #error: Error | null = null;
  #wake: (() => void) | null = null;

  constructor(options: OutputOptions) {
    this.#options = options;
    if (options.onStdout !== undefined || options.onStderr !== undefined) this.#mode = 'collect';
  }

  /** Takes bytes that are valid only during the call. */
  push(channel: ChannelName, bytes: Uint8Array, credit: Credit = NO_CREDIT): void {
    if (this.#mode === 'discard') return credit.consume(bytes.length);
    if (this.#mode === 'collect' && !this.#calls(channel) && this.#isFull(channel)) {
      this.#collected[channel].truncated = true;
      return credit.consume(bytes.length);
    }
    this.#take({ channel, bytes: Buffer.from(bytes), credit });
  }

  lost(channel: ChannelName, from: number, to: number): void {
    this.#collected[channel].truncated = true;
    if (this.#mode === 'held' || this.#mode === 'iterate') this.#enqueue({ type: 'output_lost', channel, from, to });
  }

  /** No more comes. An error is thrown to the iterator. */
  end(last: ExecOutputEvent<Output> | Error): void {
    if (this.#ended) return;
    this.#ended = true;
    if (last instanceof Error) this.#error = last;
    else if (this.#mode === 'held' || this.#mode === 'iterate') this.#queue.push(last);
    this.#wake?.();
  }

  /** Somebody awaits the result. What is being iterated stays so. */
  collect(): void {
    if (this.#mode !== 'held') return;
    this.#mode = 'collect';
    const held = this.#queue;
    this.#queue = [];
    for (const entry of held) if ('credit' in entry) this.#take(entry);
  }

  /** Nobody wants the rest. */
  discard(): void {
    this.#mode = 'discard';
    const held = this.#queue;
    this.#queue = [];
    for (const entry of held) if ('credit' in entry) entry.credit.consume(entry.bytes.length);
  }

  /** Resolves when the callbacks have had everything. */
  async flushed(): Promise<void> {
    while (this.#callbacks !== null) await this.#callbacks;
    for (const channel of ['stdout', 'stderr'] as const) {
      const rest = this.#options.bytes ? '' : this.#collected[channel].decoder.end();
      if (rest !== '' && this.#calls(channel)) await this.#call(channel, rest);
    }
  }

  result(channel: ChannelName): { data: Output; truncated: boolean; bytes: number } {
    const { chunks, kept, truncated } = this.#collected[channel];
    const bytes = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, kept);
    return { data: this.#options.bytes ? bytes : bytes.toString('utf8'), truncated, bytes: kept };
  }

  async *iterate(): AsyncGenerator<ExecOutputEvent<Output>> {
    if (this.#mode === 'held') this.#mode = 'iterate';
    if (this.#mode !== 'iterate') throw new TypeError('the output of this command goes elsewhere already');
    for (;;) {
      for (const entry of this.#drain()) yield* this.#asEvents(entry);
      if (this.#queue.length > 0) continue;
      if (this.#error !== null) throw this.#error;
      if (this.#ended) return;
      await new Promise<void>((resolve) => (this.#wake = resolve));
      this.#wake = null;
    }
  }

  /** Hands out one entry after the other; the credit of each goes back when the reader asks for the next. */
  *#drain(): Generator<Entry> {
    const entries = this.#queue;
    this.#queue = [];
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i]!;
      try {
        yield entry;
      } finally {
        if ('credit' in entry) entry.credit.consume(entry.bytes.length);
      }
    }
  }

  *#asEvents(entry: Entry): Generator<ExecOutputEvent<Output>> {
    if ('credit' in entry) {
      const data = this.#decode(entry.channel, entry.bytes);
      if (data.length > 0) yield { type: entry.channel, data };
      return;
    }
    if (entry.type === 'exit' && !this.#options.bytes) {
      for (const type of ['stdout', 'stderr'] as const) {
        const data = this.#collected[type].decoder.end();
        if (data !== '') yield { type, data };
      }
    }
    yield entry;
  }

  #take(entry: Held): void {
    if (this.#mode !== 'collect') return this.#enqueue(entry);
    const { channel, bytes, credit } = entry;
    this.#keep(channel, bytes);
    if (!this.#calls(channel)) return credit.consume(bytes.length);
    const data = this.#decode(channel, bytes);
    const before = this.#callbacks;
    const work = (async () => {
      await before;
      if (data.length > 0) await this.#call(channel, data);
      credit.consume(bytes.length);
    })();
    this.#callbacks = work;
    void work.then(() => {
      if (this.#callbacks === work) this.#callbacks = null;
    });
  }

  #enqueue(entry: Entry): void {
    this.#queue.push(entry);
    this.#wake?.();
  }

  #keep(channel: ChannelName, bytes: Buffer): void {
    const to = this.#collected[channel];
    const room = this.#options.maxBytes - to.kept;
    if (bytes.length > room) to.truncated = true;
    if (room <= 0) return;
    const kept = bytes.length > room ? bytes.subarray(0, room) : bytes;
    to.chunks.push(kept);
    to.kept += kept.length;
  }

  #isFull(channel: ChannelName): boolean {
    return this.#collected[channel].kept >= this.#options.maxBytes;
  }

  #calls(channel: ChannelName): boolean {
    return (channel === 'stdout' ? this.#options.onStdout : this.#options.onStderr) !== undefined;
  }

  /** Never rejects: a callback that fails is reported once. */
  async #call(channel: ChannelName, data: Output): Promise<void> {
    const callback = channel === 'stdout' ? this.#options.onStdout : this.#options.onStderr;
    try {
      await (callback as ((data: Output) => unknown) | undefined)?.(data);
    } catch (error) {
      this.#options.onFailure(error);
    }
  }

  #decode(channel: ChannelName, bytes: Buffer): Output {
    return this.#options.bytes ? bytes : this.#collected[channel].decoder.write(bytes);
  }
}

function collected(): Collected {
  return { chunks: [], kept: 0, truncated: false, decoder: new StringDecoder('utf8') };
}
