/**
 * The sending half of a link. Control frames go first, then the ready streams in turn, a quantum each. Frames are
 * batched; the number of bytes handed to the transport is bounded, since nothing can overtake them there.
 */
import { FrameType, HEADER_BYTES, writeHeader } from '../protocol/frames.ts';
import { LINK_WINDOW_BYTES, MAX_DATA_BYTES, MAX_IN_FLIGHT_BYTES, QUANTUM_BYTES } from '../protocol/limits.ts';
import { LARGE_BYTES, giveBuffer, takeBuffer } from './buffers.ts';
import type { Transport } from './types.ts';

/**
 * A stream as the sender sees it. The head of its queue is always data: frames that cost no credit have gone to the
 * control lane.
 */
export interface DataSource {
  readonly id: number;
  /** Bytes that the peer still accepts. */
  credit: number;
  /** Next in the ring of ready streams. Owned by the sender. */
  nextReady: DataSource | null;
  inRing: boolean;
  /** Bytes that are queued and that the stream's credit allows. 0 when closed. */
  sendable(): number;
  /** The channel of the bytes at the head of the queue. */
  headChannel(): number;
  /** Moves up to `max` bytes of the head's channel to `out` at `offset`; returns how many. */
  moveTo(out: Uint8Array, offset: number, max: number): number;
  /** Call after a move: passes on what was queued after the moved bytes. */
  moved(): void;
}

/** Sends handed to the transport, whatever their size: each holds a buffer. */
const MAX_SENDS_IN_FLIGHT = 8;
/** A DATA frame smaller than this is not worth its header while a batch with more room is near. */
const MIN_ROOM_BYTES = 1024;
/** Control frames that a peer may leave unread. */
const MAX_CONTROL_QUEUE_BYTES = 64 * 1024 * 1024;
/** Whoever can wait does so above this: what is queued here delays everything that is queued later. */
const CROWDED_BYTES = 4 * 1024 * 1024;

/** What the peer asked for by sending frames, whether or not it reads. */
const isAnswer = (type: number | undefined): boolean => type === FrameType.PONG || type === FrameType.REFUSED;

export class Sender {
  readonly #transport: Transport;
  readonly #onOverflow: () => void;
  readonly #lazyMs: number;
  /** Each batch begins at this offset of its buffer. */
  readonly #headroom: number;
  #linkCredit = LINK_WINDOW_BYTES;

  #batch: Uint8Array | null = null;
  #used = 0;
  /** Complete control frames that did not fit in the batch. */
  #control: Uint8Array[] = [];
  #controlHead = 0;
  #controlBytes = 0;
  #answerBytes = 0;
  #waitingForRoom: (() => void)[] = [];
  #firstReady: DataSource | null = null;
  #lastReady: DataSource | null = null;

  #inFlight = 0;
  #sends = 0;
  #scheduled = false;
  #lazyTimer: NodeJS.Timeout | null = null;
  #flushing = false;
  #closed = false;
  bytesOut = 0;

  /** `lazyMs`: how long a frame that nobody waits for is held back so that others can share its send. */
  constructor(transport: Transport, lazyMs: number, onOverflow: () => void) {
    this.#transport = transport;
    this.#lazyMs = lazyMs;
    this.#onOverflow = onOverflow;
    this.#headroom = transport.headroom ?? 0;
  }

  /** Bytes of control frames that wait for the transport. */
  get controlBacklog(): number {
    return this.#controlBytes;
  }

  /** Of these, the answers to frames of the peer: PONG and REFUSED. */
  get answerBacklog(): number {
    return this.#answerBytes;
  }

  /** Whether so much waits that a large frame had better wait before it is queued. */
  get crowded(): boolean {
    return this.#controlBytes > CROWDED_BYTES;
  }

  /** Resolves when that is no longer so, or the link is closed. Many wait: each looks again before it queues anything. */
  async room(): Promise<void> {
    if (this.crowded) await new Promise<void>((resolve) => this.#waitingForRoom.push(resolve));
  }

  /** Whether one more control frame with this payload stays below the bound. */
  takesControl(payloadBytes: number): boolean {
    return this.#controlBytes + HEADER_BYTES + payloadBytes <= MAX_CONTROL_QUEUE_BYTES;
  }

  /** Queues a frame that costs no credit, ahead of all queued data. `lazily`: nobody waits for it. */
  control(
    type: number,
    flags: number,
    channel: number,
    stream: number,
    payload: Uint8Array,
    lazily: boolean = false,
  ): void {
    if (this.#closed) return;
    const bytes = HEADER_BYTES + payload.length;
    if (this.#controlHead === this.#control.length && bytes <= this.#room()) {
      const batch = this.#reserve(bytes);
      writeHeader(batch, this.#end, type, flags, channel, stream, payload.length);
      batch.set(payload, this.#end + HEADER_BYTES);
      this.#used += bytes;
    } else {
      const frame = Buffer.allocUnsafe(this.#headroom + bytes).subarray(this.#headroom);
      writeHeader(frame, 0, type, flags, channel, stream, payload.length);
      frame.set(payload, HEADER_BYTES);
      this.#control.push(frame);
      this.#controlBytes += bytes;
      if (isAnswer(type)) this.#answerBytes += bytes;
      if (this.#controlBytes > MAX_CONTROL_QUEUE_BYTES) return this.#onOverflow();
    }
    if (lazily && this.#lazyMs > 0) this.#scheduleLazily();
    else this.#schedule();
  }

  /**
   * Copies bytes of a stream with an empty queue straight into the batch, as far as credit and room go and if no other
   * stream waits for its turn. Returns how many bytes it took.
   */
  direct(source: DataSource, channel: number, bytes: Uint8Array): number {
    if (this.#closed || this.#firstReady !== null || this.#controlHead < this.#control.length) return 0;
    let done = 0;
    while (done < bytes.length) {
      const room = this.#room() - HEADER_BYTES;
      const left = bytes.length - done;
      if (room < MIN_ROOM_BYTES && room < left) break;
      const n = Math.min(left, MAX_DATA_BYTES, source.credit, this.#linkCredit, room);
      if (n <= 0) break;
      const batch = this.#reserve(HEADER_BYTES + n);
      writeHeader(batch, this.#end, FrameType.DATA, 0, channel, source.id, n);
      batch.set(n === bytes.length ? bytes : bytes.subarray(done, done + n), this.#end + HEADER_BYTES);
      this.#spend(source, n);
      done += n;
    }
    if (done > 0) this.#schedule();
    return done;
  }

  /** A stream may have become sendable: it has bytes queued, or got credit. */
  wake(source: DataSource): void {
    if (this.#closed || source.inRing || source.sendable() === 0) return;
    this.#enring(source);
    this.#schedule();
  }

  addLinkCredit(bytes: number): void {
    this.#linkCredit += bytes;
    if (this.#firstReady !== null) this.#schedule();
  }

  get linkCredit(): number {
    return this.#linkCredit;
  }

  /** Hands over everything that can be sent now. */
  flush(): void {
    if (this.#flushing || this.#closed) return;
    this.#flushing = true;
    try {
      while (!this.#closed && this.#sends < MAX_SENDS_IN_FLIGHT && this.#inFlight < MAX_IN_FLIGHT_BYTES) {
        this.#fillControl();
        this.#fillData();
        if (this.#used === 0 || this.#closed) break;
        this.#handOver();
      }
    } finally {
      this.#flushing = false;
    }
  }

  close(): void {
    this.#closed = true;
    if (this.#lazyTimer !== null) clearTimeout(this.#lazyTimer);
    this.#lazyTimer = null;
    if (this.#batch !== null) giveBuffer(this.#batch);
    this.#batch = null;
    this.#used = 0;
    this.#control = [];
    this.#controlHead = 0;
    this.#controlBytes = 0;
    this.#answerBytes = 0;
    this.#firstReady = null;
    this.#lastReady = null;
    this.#tellRoom();
  }

  /** Room for complete frames in the batch being filled. */
  #room(): number {
    if (this.#sends >= MAX_SENDS_IN_FLIGHT) return 0;
    return Math.min(LARGE_BYTES - this.#headroom, MAX_IN_FLIGHT_BYTES - this.#inFlight) - this.#used;
  }

  /** Offset of the next frame in the batch. */
  get #end(): number {
    return this.#headroom + this.#used;
  }

  /** The batch, with `bytes` free after the used part. The caller has checked the room. */
  #reserve(bytes: number): Uint8Array {
    const needed = this.#end + bytes;
    const batch = this.#batch;
    if (batch !== null && needed <= batch.length) return batch;
    const next = takeBuffer(needed);
    if (batch !== null) {
      next.set(batch.subarray(0, this.#end));
      giveBuffer(batch);
    }
    this.#batch = next;
    return next;
  }

  #spend(source: DataSource, bytes: number): void {
    this.#used += HEADER_BYTES + bytes;
    source.credit -= bytes;
    this.#linkCredit -= bytes;
  }

  #fillControl(): void {
    while (this.#controlHead < this.#control.length) {
      const frame = this.#control[this.#controlHead]!;
      const tooLong = frame.length > LARGE_BYTES - this.#headroom;
      if (tooLong ? this.#used > 0 : frame.length > this.#room()) return;
      this.#controlHead += 1;
      this.#controlBytes -= frame.length;
      if (isAnswer(frame[0])) this.#answerBytes -= frame.length;
      if (this.#waitingForRoom.length > 0 && !this.crowded) this.#tellRoom();
      if (this.#controlHead === this.#control.length) {
        this.#control = [];
        this.#controlHead = 0;
      } else if (this.#controlHead > 1024) {
        this.#control.splice(0, this.#controlHead);
        this.#controlHead = 0;
      }
      if (tooLong) {
        this.#send(frame, null);
        if (this.#closed || this.#inFlight >= MAX_IN_FLIGHT_BYTES || this.#sends >= MAX_SENDS_IN_FLIGHT) return;
      } else {
        this.#reserve(frame.length).set(frame, this.#end);
        this.#used += frame.length;
      }
    }
  }

  #tellRoom(): void {
    const waiting = this.#waitingForRoom;
    this.#waitingForRoom = [];
    for (const resolve of waiting) resolve();
  }

  #fillData(): void {
    while (this.#firstReady !== null && this.#linkCredit > 0 && this.#controlHead === this.#control.length) {
      const room = this.#room() - HEADER_BYTES;
      if (room < MIN_ROOM_BYTES) return;
      const source = this.#firstReady;
      this.#firstReady = source.nextReady;
      if (this.#firstReady === null) this.#lastReady = null;
      source.nextReady = null;
      source.inRing = false;
      const alone = this.#firstReady === null;
      const max = Math.min(alone ? MAX_DATA_BYTES : QUANTUM_BYTES, source.sendable(), this.#linkCredit, room);
      if (max <= 0) continue;
      const batch = this.#reserve(HEADER_BYTES + max);
      const channel = source.headChannel();
      const n = source.moveTo(batch, this.#end + HEADER_BYTES, max);
      writeHeader(batch, this.#end, FrameType.DATA, 0, channel, source.id, n);
      this.#spend(source, n);
      source.moved();
      if (!source.inRing && source.sendable() > 0) this.#enring(source);
    }
  }

  #enring(source: DataSource): void {
    source.inRing = true;
    source.nextReady = null;
    if (this.#lastReady === null) this.#firstReady = source;
    else this.#lastReady.nextReady = source;
    this.#lastReady = source;
  }

  #handOver(): void {
    const batch = this.#batch!;
    const used = this.#used;
    this.#batch = null;
    this.#used = 0;
    this.#send(batch.subarray(this.#headroom, this.#headroom + used), batch);
  }

  #send(bytes: Uint8Array, buffer: Uint8Array | null): void {
    const n = bytes.length;
    this.#inFlight += n;
    this.#sends += 1;
    this.bytesOut += n;
    let called = false;
    this.#transport.send(bytes, () => {
      if (called) return;
      called = true;
      this.#inFlight -= n;
      this.#sends -= 1;
      if (buffer !== null) giveBuffer(buffer);
      if (this.#firstReady !== null || this.#used > 0 || this.#control.length > 0) this.#schedule();
    });
  }

  /** One flush per turn of the microtask queue: frames are batched, and an idle link waits for no timer. */
  #schedule(): void {
    if (this.#scheduled || this.#closed) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.flush();
    });
  }

  /** The timer outlives frames that were sent earlier: starting one per frame would cost as much as it saves. */
  #scheduleLazily(): void {
    if (this.#scheduled || this.#lazyTimer !== null) return;
    this.#lazyTimer = setTimeout(() => {
      this.#lazyTimer = null;
      this.flush();
    }, this.#lazyMs);
  }
}
