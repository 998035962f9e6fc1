/** A tunnel to a port inside a sandbox, in the form of a socket, as Node's HTTP client and pipes expect it. */
import { Duplex } from 'node:stream';
import type { MuxStream } from '../../mux/index.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { Channel } from '../../protocol/frames.ts';
import type { NodeOpen } from '../../protocol/node.ts';
import type { Opener } from '../nodes/unary.ts';

export class PortStream extends Duplex {
  readonly #stream: MuxStream;
  readonly #connected = Promise.withResolvers<void>();
  /** Bytes pushed but not yet read. Their credit is returned when the reader asks for more. */
  #untaken = 0;

  /** @throws ServiceError when there is no link. */
  constructor(node: Opener, request: NodeOpen) {
    super({ allowHalfOpen: true });
    this.#connected.promise.catch(() => undefined);
    this.#stream = node.open(request, {
      opened: () => this.#connected.resolve(),
      data: (channel, bytes) => {
        if (channel !== Channel.BYTES) return this.#stream.consume(bytes.length);
        this.#untaken += bytes.length;
        if (this.push(Buffer.from(bytes))) this.#taken();
      },
      fin: (channel) => {
        if (channel === Channel.ALL || channel === Channel.BYTES) this.push(null);
      },
      closed: (error) => {
        this.#connected.reject(error ?? new ServiceError('port_refused'));
        if (error !== null) this.destroy(error);
      },
    });
  }

  /** Resolves when a server inside has accepted the connection. @throws ServiceError `port_refused` */
  get connected(): Promise<void> {
    return this.#connected.promise;
  }

  override _read(): void {
    this.#taken();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    if (this.#stream.closed) return callback(new ServiceError('interrupted'));
    const drained = this.#stream.write(Channel.BYTES, chunk);
    if (drained === undefined) callback();
    else void drained.then(() => callback());
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#stream.end();
    callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#stream.reset(new ServiceError('cancelled'));
    callback(error);
  }

  // Node's HTTP client calls this on a socket.
  setTimeout(): this {
    return this;
  }
  setNoDelay(): this {
    return this;
  }
  setKeepAlive(): this {
    return this;
  }
  ref(): this {
    return this;
  }
  unref(): this {
    return this;
  }

  #taken(): void {
    const bytes = this.#untaken;
    this.#untaken = 0;
    this.#stream.consume(bytes);
  }
}
