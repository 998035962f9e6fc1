/**
 * Whether the peer still answers. Each side sends a heartbeat per interval and waits for its answer, so that a link is
 * found dead that carries bytes one way only, or none at all, or leads to a peer that is stalled. Time is counted in
 * turns of a timer and by the monotonic clock: a late turn means that this process was stalled, and then nothing is
 * held against the peer.
 */
import { performance } from 'node:perf_hooks';
import { ServiceError } from '../protocol/errors.ts';

export interface LivenessOptions {
  /** Interval between heartbeats. 0: none, and the link is never found dead. */
  intervalMs: number;
  /** The link is dead when nothing at all has arrived for this long. */
  deadAfterMs: number;
  /** The link is dead when a heartbeat is unanswered for this long, whatever else arrives. 0: not judged. */
  answerWithinMs: number;
  bytesIn(): number;
  ping(payload: Uint8Array): void;
  /** Called once. */
  dead(why: string): void;
  now?: () => number;
}

/** Pings whose answer is awaited. */
const MAX_WAITING = 1024;
/** Names the heartbeats; other pings count from 1. */
const HEARTBEAT = 0;
/** A turn that took this many intervals was delayed by this process itself. */
const STALLED_INTERVALS = 1.5;

export class Liveness {
  readonly #options: LivenessOptions;
  readonly #now: () => number;
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #waiting = new Map<number, { at: number; answer: PromiseWithResolvers<number> }>();
  #lastTurnAt: number;
  #lastBytesIn = 0;
  #silentMs = 0;
  /** Null: no heartbeat is in flight. */
  #unansweredMs: number | null = null;
  #late = 0;
  #stopped = false;
  #nextPing = 1;

  constructor(options: LivenessOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#lastTurnAt = this.#now();
    if (options.intervalMs > 0) this.#timer = setInterval(() => this.turn(), options.intervalMs).unref();
  }

  /** Heartbeats whose answer took longer than an interval. */
  get late(): number {
    return this.#late;
  }

  /** Milliseconds for a round trip. */
  ping(): Promise<number> {
    if (this.#waiting.size >= MAX_WAITING) return Promise.reject(new ServiceError('rate_limited'));
    const answer = Promise.withResolvers<number>();
    const id = this.#nextPing++;
    this.#waiting.set(id, { at: this.#now(), answer });
    this.#send(id);
    return answer.promise;
  }

  pong(payload: Uint8Array): void {
    if (payload.length !== 8) return;
    const id = Number(new DataView(payload.buffer, payload.byteOffset, 8).getBigUint64(0));
    if (id === HEARTBEAT) this.#unansweredMs = null;
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return;
    this.#waiting.delete(id);
    waiting.answer.resolve(this.#now() - waiting.at);
  }

  stop(): void {
    this.#stopped = true;
    clearInterval(this.#timer);
    for (const { answer } of this.#waiting.values())
      answer.reject(new ServiceError('interrupted', 'the link is closed'));
    this.#waiting.clear();
  }

  /** One interval has passed. */
  turn(): void {
    const { intervalMs, deadAfterMs, answerWithinMs } = this.#options;
    const now = this.#now();
    const stalled = now - this.#lastTurnAt > STALLED_INTERVALS * intervalMs;
    this.#lastTurnAt = now;
    if (this.#hasReceived()) this.#silentMs = 0;
    else if (!stalled) this.#silentMs += intervalMs;
    if (this.#unansweredMs === null) {
      this.#unansweredMs = 0;
      this.#send(HEARTBEAT);
    } else if (!stalled) {
      if (this.#unansweredMs === 0) this.#late += 1;
      this.#unansweredMs += intervalMs;
    }
    if (this.#silentMs >= deadAfterMs) this.#condemn(`nothing came over the link for ${this.#silentMs} ms`);
    else if (answerWithinMs > 0 && (this.#unansweredMs ?? 0) >= answerWithinMs) {
      this.#condemn(`a heartbeat was not answered for ${this.#unansweredMs} ms`);
    }
  }

  #hasReceived(): boolean {
    const bytesIn = this.#options.bytesIn();
    const heard = bytesIn !== this.#lastBytesIn;
    this.#lastBytesIn = bytesIn;
    return heard;
  }

  /** Timers run before sockets in a turn of the event loop: bytes already received are read first, and then count. */
  #condemn(why: string): void {
    const { silent, unanswered } = { silent: this.#silentMs, unanswered: this.#unansweredMs };
    setImmediate(() => {
      if (this.#stopped) return;
      if (this.#hasReceived()) this.#silentMs = 0;
      if (this.#silentMs >= silent && this.#unansweredMs === unanswered) this.#options.dead(why);
    });
  }

  #send(id: number): void {
    const payload = new Uint8Array(8);
    new DataView(payload.buffer).setBigUint64(0, BigInt(id));
    this.#options.ping(payload);
  }
}
