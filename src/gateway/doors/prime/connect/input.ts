/**
 * Stdin of a live process, or input typed at its terminal. Sent bytes are kept until they must have arrived, so that a
 * cut link loses none of them.
 */
import type { MuxStream } from '../../../../mux/index.ts';
import { Channel } from '../../../../protocol/frames.ts';
import { ServiceError } from '../../../../protocol/errors.ts';
import { sendBytes } from '../../../streams/send.ts';

/** More than two hops can hold: a stream window each, and what a stream queues before its writer has to wait. */
const TAIL_BYTES = 2 * 1024 * 1024;
/** Input that may wait for a program that does not read it. */
const MAX_WAITING_BYTES = 8 * 1024 * 1024;

export class Input {
  #stream: MuxStream | null = null;
  #up = Promise.withResolvers<void>();
  #tail: Buffer[] = [];
  #tailBytes = 0;
  /** Offset of the end of the tail. */
  #sent = 0;
  #waiting = 0;
  #last: Promise<unknown> = Promise.resolve();
  #failure: ServiceError | null = null;

  constructor() {
    this.#up.promise.catch(() => undefined);
  }

  /** Bytes are sent in the order of the calls. Resolves once they are sent. @throws ServiceError */
  async write(bytes: Buffer): Promise<void> {
    if (this.#waiting + bytes.length > MAX_WAITING_BYTES) {
      throw new ServiceError('rate_limited', 'the process is not reading the input that is already queued for it');
    }
    this.#waiting += bytes.length;
    const mine = this.#last.then(() => this.#send(bytes));
    this.#last = mine.catch(() => undefined);
    try {
      await mine;
    } finally {
      this.#waiting -= bytes.length;
    }
  }

  /**
   * There is a stream (again). Bytes that the other side has not received are sent again, before anything else.
   * @param received how many bytes it has received in total
   */
  connected(stream: MuxStream, received: number): void {
    if (this.#sent < received) this.#sent = received;
    const missing = this.#sent - received;
    if (missing > this.#tailBytes) return this.fail(new ServiceError('interrupted', 'input was lost on the way'));
    const again = Buffer.concat(this.#tail).subarray(this.#tailBytes - missing);
    // Writers waiting for the stream continue after that.
    void sendBytes(stream, Channel.STDIN, again).then(() => {
      if (stream.closed) return;
      this.#stream = stream;
      this.#up.resolve();
    });
  }

  disconnected(): void {
    if (this.#stream === null) return;
    this.#stream = null;
    this.#up = Promise.withResolvers<void>();
    this.#up.promise.catch(() => undefined);
    if (this.#failure !== null) this.#up.reject(this.#failure);
  }

  /** Every write fails from now on. */
  fail(error: ServiceError): void {
    this.#failure ??= error;
    this.#up.reject(error);
  }

  async #send(bytes: Buffer): Promise<void> {
    this.#check();
    while (this.#stream === null) await this.#up.promise;
    const stream = this.#stream;
    this.#keep(bytes);
    // A cut while this waits does no harm: the kept bytes are sent again.
    await sendBytes(stream, Channel.STDIN, bytes);
    this.#check();
  }

  #check(): void {
    if (this.#failure !== null) throw this.#failure;
  }

  #keep(bytes: Buffer): void {
    this.#sent += bytes.length;
    this.#tail.push(bytes);
    this.#tailBytes += bytes.length;
    for (let first = this.#tail[0]; first !== undefined; first = this.#tail[0]) {
      if (this.#tailBytes - first.length < TAIL_BYTES) return;
      this.#tail.shift();
      this.#tailBytes -= first.length;
    }
  }
}
