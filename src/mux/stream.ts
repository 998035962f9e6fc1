/** One stream: its state, its credit in both directions, and what it has queued. */
import { Channel, FrameType } from '../protocol/frames.ts';
import { MAX_CONTROL_BYTES, STREAM_WINDOW_BYTES } from '../protocol/limits.ts';
import { ServiceError } from '../protocol/errors.ts';
import { EMPTY, encodeError, encodeJson, encodeU32 } from './payloads.ts';
import { SendQueue } from './send-queue.ts';
import type { DataSource, Sender } from './sender.ts';
import type { Json, MuxStream, StreamHandler } from './types.ts';

/** A writer is asked to wait above the first figure, and released at the second. */
const HIGH_WATER_BYTES = 64 * 1024;
const LOW_WATER_BYTES = 32 * 1024;
/** Only a writer that does not wait reaches this. */
const MAX_QUEUE_BYTES = 4 * 1024 * 1024;
/** Control frames queued after data that the peer does not take. */
const MAX_QUEUED_CONTROLS = 4096;

/** What a stream needs of its link. */
export interface StreamOwner {
  readonly sender: Sender;
  /** The stream takes and sends nothing more. `later`: the handler is called after the caller has returned. */
  gone(stream: Stream, error: ServiceError | null, later: boolean): void;
}

interface StreamOpening {
  request: Json;
  bytes: number;
  /** Whether we opened it. */
  ours: boolean;
}

export class Stream implements MuxStream, DataSource {
  readonly id: number;
  readonly request: Json;
  readonly requestBytes: number;
  readonly ours: boolean;
  handler: StreamHandler = {};

  credit = STREAM_WINDOW_BYTES;
  nextReady: DataSource | null = null;
  inRing = false;

  readonly #owner: StreamOwner;
  readonly #queue = new SendQueue();
  #drained: PromiseWithResolvers<void> | null = null;
  /** OPENED was sent (theirs) or received (ours). */
  #accepted = false;
  #closed = false;
  #endAsked = false;
  #endSent = false;
  #peerEnded = false;
  /** Channels finished, one bit each. */
  #sentFins = 0;
  #peerFins = 0;

  /** What the peer may still send. */
  #window = STREAM_WINDOW_BYTES;
  /** Delivered to the handler and not yet consumed. */
  #unconsumed = 0;
  /** Consumed, but not yet returned to the peer. */
  #unreturned = 0;

  constructor(owner: StreamOwner, id: number, { request, bytes, ours }: StreamOpening) {
    this.#owner = owner;
    this.id = id;
    this.request = request;
    this.requestBytes = bytes;
    this.ours = ours;
  }

  get closed(): boolean {
    return this.#closed;
  }

  get backlog(): number {
    return this.#owner.sender.controlBacklog;
  }

  get crowded(): boolean {
    return this.#owner.sender.crowded;
  }

  room(): Promise<void> {
    return this.#owner.sender.room();
  }

  // What the owner of the stream calls.

  accept(answer: Json = {}): void {
    if (this.#closed || this.ours || this.#accepted) return;
    this.#accepted = true;
    this.#sendJson(FrameType.OPENED, answer);
  }

  refuse(error: ServiceError): void {
    if (this.#closed || this.ours) return;
    if (this.#accepted) return this.reset(error);
    this.#emit(FrameType.REFUSED, 0, encodeError(error));
    this.#owner.gone(this, error, false);
  }

  write(channel: number, bytes: Uint8Array): Promise<void> | undefined {
    if (this.#closed || bytes.length === 0) return undefined;
    if (!this.#maySend(channel)) return undefined;
    const done = this.#queue.empty ? this.#owner.sender.direct(this, channel, bytes) : 0;
    if (done < bytes.length) {
      this.#queue.pushBytes(channel, done === 0 ? bytes : bytes.subarray(done));
      if (this.#queue.bytes > MAX_QUEUE_BYTES) {
        this.reset(new ServiceError('internal', 'a writer did not wait for its stream to drain'));
        return undefined;
      }
      this.#owner.sender.wake(this);
    }
    if (this.#queue.bytes <= HIGH_WATER_BYTES) return undefined;
    this.#drained ??= Promise.withResolvers<void>();
    return this.#drained.promise;
  }

  event(message: Json): void {
    if (this.#closed || !this.#maySend()) return;
    this.#inOrder(FrameType.EVENT, 0, encodeJson(message));
  }

  urgent(message: Json): void {
    if (this.#closed || !this.#maySend()) return;
    this.#sendJson(FrameType.EVENT, message);
  }

  fin(channel: number): void {
    if (channel === Channel.ALL) return this.end();
    if (this.#closed || this.#endAsked || channel > 31) return;
    if ((this.#sentFins & (1 << channel)) !== 0) return;
    this.#implicitAccept();
    this.#sentFins |= 1 << channel;
    this.#inOrder(FrameType.FIN, channel, EMPTY);
  }

  end(): void {
    if (this.#closed || this.#endAsked) return;
    this.#implicitAccept();
    this.#endAsked = true;
    this.#inOrder(FrameType.FIN, Channel.ALL, EMPTY);
  }

  reset(error: ServiceError): void {
    if (this.#closed) return;
    this.#emit(FrameType.RESET, 0, encodeError(error));
    this.#owner.gone(this, error, false);
  }

  consume(bytes: number): void {
    if (this.#closed || !(bytes > 0)) return;
    const n = Math.min(bytes, this.#unconsumed);
    this.#unconsumed -= n;
    this.#unreturned += n;
    if (this.#unreturned < STREAM_WINDOW_BYTES / 2 || this.#peerEnded) return;
    // The window grows before the peer learns of it: otherwise its next bytes would look like too many.
    this.#window += this.#unreturned;
    this.#sendCredit(this.#unreturned);
    this.#unreturned = 0;
  }

  // What the sender calls.

  sendable(): number {
    return this.#closed ? 0 : Math.min(this.#queue.bytes, this.credit);
  }

  headChannel(): number {
    return this.#queue.headChannel();
  }

  moveTo(out: Uint8Array, offset: number, max: number): number {
    return this.#queue.moveTo(out, offset, max);
  }

  moved(): void {
    for (let frame = this.#queue.takeControl(); frame !== undefined; frame = this.#queue.takeControl()) {
      this.#emit(frame.type, frame.channel, frame.payload);
    }
    if (this.#queue.bytes <= LOW_WATER_BYTES) this.#letWritersGo();
  }

  // What the link calls when frames arrive. A string says which rule the peer broke.

  takeOpened(answer: Json): string | undefined {
    if (!this.ours || this.#accepted) return 'OPENED for a stream that was not being opened';
    this.#accepted = true;
    this.handler.opened?.(answer);
    return undefined;
  }

  takeRefused(error: ServiceError): string | undefined {
    if (!this.ours || this.#accepted) return 'REFUSED for a stream that was not being opened';
    this.#owner.gone(this, error, false);
    return undefined;
  }

  takeDataHeader(channel: number, length: number): string | undefined {
    const broken = this.#mayReceive(channel, 'DATA');
    if (broken !== undefined) return broken;
    if (length > this.#window) return `${length} bytes with a credit of ${this.#window}`;
    this.#window -= length;
    return undefined;
  }

  takeData(channel: number, bytes: Uint8Array): void {
    this.#unconsumed += bytes.length;
    if (this.handler.data === undefined) this.consume(bytes.length);
    else this.handler.data(channel, bytes);
  }

  takeEvent(message: Json): string | undefined {
    const broken = this.#mayReceive(0, 'EVENT', true);
    if (broken !== undefined) return broken;
    this.handler.event?.(message);
    return undefined;
  }

  takeFin(channel: number): string | undefined {
    if (channel !== Channel.ALL) {
      const broken = this.#mayReceive(channel, 'FIN');
      if (broken !== undefined) return broken;
      this.#peerFins |= 1 << channel;
      this.handler.fin?.(channel);
      return undefined;
    }
    if (this.#peerEnded) return 'FIN after FIN ALL';
    if (this.ours && !this.#accepted) return 'FIN before OPENED';
    this.#peerEnded = true;
    this.handler.fin?.(channel);
    if (this.#endSent && !this.#closed) this.#owner.gone(this, null, false);
    return undefined;
  }

  takeCredit(bytes: number): string | undefined {
    if (bytes === 0 || this.credit + bytes > STREAM_WINDOW_BYTES) return `a credit of ${bytes} above the window`;
    this.credit += bytes;
    this.#owner.sender.wake(this);
    return undefined;
  }

  /** The link has dropped the stream: discard what is queued and release writers. */
  release(): void {
    this.#closed = true;
    this.#queue.clear();
    this.#letWritersGo();
  }

  #mayReceive(channel: number, what: string, anyChannel = false): string | undefined {
    if (this.#peerEnded) return `${what} after FIN ALL`;
    if (this.ours && !this.#accepted) return `${what} before OPENED`;
    if (anyChannel) return undefined;
    if (channel > 31) return `${what} on channel ${channel}`;
    if ((this.#peerFins & (1 << channel)) !== 0) return `${what} after FIN of channel ${channel}`;
    return undefined;
  }

  /** @param channel of DATA; none for an EVENT, which may follow the end of every channel */
  #maySend(channel?: number): boolean {
    this.#implicitAccept();
    const open = channel === undefined || (channel <= 31 && (this.#sentFins & (1 << channel)) === 0);
    if (!this.#endAsked && open) return true;
    this.reset(new ServiceError('internal', `something was sent on channel ${channel ?? 'ALL'} after its end`));
    return false;
  }

  /** A responder that simply begins to answer has accepted. */
  #implicitAccept(): void {
    if (!this.ours && !this.#accepted) this.accept();
  }

  #inOrder(type: number, channel: number, payload: Uint8Array): void {
    if (this.#queue.empty) return this.#emit(type, channel, payload);
    this.#queue.pushControl({ type, channel, payload });
    if (this.#queue.controls > MAX_QUEUED_CONTROLS) {
      this.reset(new ServiceError('internal', 'too many messages wait behind data that the peer does not take'));
    }
  }

  #emit(type: number, channel: number, payload: Uint8Array): void {
    if (payload.length > MAX_CONTROL_BYTES) {
      this.reset(new ServiceError('internal', `a message of ${payload.length} bytes; at most ${MAX_CONTROL_BYTES}`));
      return;
    }
    const last = type === FrameType.FIN && channel === Channel.ALL;
    // The opener's last frame after the peer's: its only effect is that the peer forgets the stream.
    this.#owner.sender.control(type, 0, channel, this.id, payload, last && this.ours && this.#peerEnded);
    if (!last) return;
    this.#endSent = true;
    if (this.#peerEnded && !this.#closed) this.#owner.gone(this, null, true);
  }

  #sendJson(type: number, message: object): void {
    this.#emit(type, 0, encodeJson(message));
  }

  #sendCredit(bytes: number): void {
    this.#owner.sender.control(FrameType.CREDIT, 0, 0, this.id, encodeU32(bytes));
  }

  #letWritersGo(): void {
    this.#drained?.resolve();
    this.#drained = null;
  }
}
