/** A stream of bytes from or to a node, as an async iterable and a writer: for files and archives. */
import { withDeadline } from '../../lib/deadline.ts';
import { ByteAccumulator } from '../../lib/byte-accumulator.ts';
import type { Json, MuxStream } from '../../mux/index.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { Channel } from '../../protocol/frames.ts';
import type { NodeOpen } from '../../protocol/node.ts';
import type { Opener } from '../nodes/unary.ts';

const STALL_MS = 60_000;

export class ByteStream {
  readonly #stream: MuxStream;
  readonly #opened = Promise.withResolvers<Json>();
  readonly #done = Promise.withResolvers<Json | null>();
  readonly #queue = new ByteAccumulator();
  #ended = false;
  #error: ServiceError | null = null;
  #wake: (() => void) | null = null;
  #doneEvent: Json | null = null;

  /** @throws ServiceError when there is no link. */
  constructor(node: Opener, request: NodeOpen) {
    // A caller that does not use one of these promises does not need its rejection either.
    this.#opened.promise.catch(() => undefined);
    this.#done.promise.catch(() => undefined);
    this.#stream = node.open(request, {
      opened: (answer) => this.#opened.resolve(answer),
      data: (channel, bytes) => {
        if (channel !== Channel.BYTES) return this.#stream.consume(bytes.length);
        this.#queue.push(bytes);
        this.#wake?.();
      },
      event: (message) => {
        if (message['type'] === 'done') this.#doneEvent = message;
      },
      fin: (channel) => {
        if (channel !== Channel.ALL && channel !== Channel.BYTES) return;
        this.#ended = true;
        this.#wake?.();
        if (channel !== Channel.ALL) return;
        this.#done.resolve(this.#doneEvent);
        this.#stream.end();
      },
      closed: (error) => {
        if (error !== null && !this.#ended) this.#error = error;
        this.#ended = true;
        const failure = error ?? new ServiceError('interrupted', 'the node ended the transfer');
        this.#opened.reject(failure);
        this.#done.reject(failure);
        this.#wake?.();
      },
    });
  }

  /** The answer in OPENED. @throws ServiceError as the node refused. */
  get opened(): Promise<Json> {
    return this.#opened.promise;
  }

  /** The final `done` event, once the node has finished. */
  get done(): Promise<Json | null> {
    return this.#done.promise;
  }

  get closed(): boolean {
    return this.#stream.closed;
  }

  /** The incoming bytes. Credit goes back as they are consumed. @throws ServiceError when the transfer breaks off. */
  async *read(): AsyncGenerator<Buffer> {
    for (;;) {
      for (const chunk of this.#queue.take()) {
        yield chunk;
        this.#stream.consume(chunk.length);
      }
      if (!this.#queue.empty) continue;
      if (this.#error !== null) throw this.#error;
      if (this.#ended) return;
      await new Promise<void>((resolve) => (this.#wake = resolve));
      this.#wake = null;
    }
  }

  /**
   * Sends the complete source, as fast as the node takes it, then the end. Stops when the node closes the stream.
   * @throws ServiceError `deadline_exceeded` when the node takes nothing for `stallMs`: while nothing is read from the
   * client, its disconnect would go unnoticed.
   */
  async write(source: AsyncIterable<Uint8Array>, stallMs = STALL_MS): Promise<void> {
    for await (const chunk of source) {
      if (this.closed) return;
      const drained = this.#stream.write(Channel.BYTES, chunk);
      if (drained === undefined) continue;
      await withDeadline({ deadlineMs: stallMs, what: 'the sandbox taking the next bytes' }, () => drained);
    }
    if (!this.closed) this.#stream.fin(Channel.BYTES);
  }

  /** Aborts the transfer. */
  cancel(): void {
    this.#stream.reset(new ServiceError('cancelled'));
  }
}
