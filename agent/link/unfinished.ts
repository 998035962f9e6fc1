/** Streams that a graceful stop waits for, because they cannot be resumed on another link. */
import type { MuxStream, StreamHandler } from '../../src/mux/index.ts';

/** These are resumed by the next agent, or, like tunnels, may never end. */
const NOT_WAITED_FOR: ReadonlySet<unknown> = new Set(['watch', 'exec', 'attach', 'port']);

export class UnfinishedStreams {
  #count = 0;
  readonly #waiting = new Set<() => void>();

  /** Counts the stream until it has closed. */
  track(stream: MuxStream, handler: StreamHandler): StreamHandler {
    if (NOT_WAITED_FOR.has(stream.request['op'])) return handler;
    this.#count += 1;
    // A handler may be a class instance: its methods are called on it, not copied.
    return {
      data: (channel, bytes) =>
        handler.data === undefined ? stream.consume(bytes.length) : handler.data(channel, bytes),
      event: (message) => handler.event?.(message),
      fin: (channel) => handler.fin?.(channel),
      closed: (error) => {
        this.#over();
        handler.closed?.(error);
      },
    };
  }

  /** Resolves once none is open, or after `ms`. */
  async settled(ms: number): Promise<void> {
    if (this.#count === 0) return;
    const done = Promise.withResolvers<void>();
    const timer = setTimeout(done.resolve, ms);
    this.#waiting.add(done.resolve);
    await done.promise;
    clearTimeout(timer);
    this.#waiting.delete(done.resolve);
  }

  #over(): void {
    this.#count -= 1;
    if (this.#count === 0) for (const resolve of this.#waiting) resolve();
  }
}
