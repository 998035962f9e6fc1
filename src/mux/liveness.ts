/** Whether the peer still answers. A silent link is pinged; one that stays silent is dead. */
import { performance } from 'node:perf_hooks';
import { ServiceError } from '../protocol/errors.ts';

interface LivenessOptions {
  /** 0: no pings, and no verdict. */
  intervalMs: number;
  deadAfterMs: number;
  bytesIn(): number;
  ping(payload: Uint8Array): void;
  dead(): void;
}

/** Pings whose answer somebody awaits. */
const MAX_WAITING = 1024;

export class Liveness {
  readonly #options: LivenessOptions;
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #waiting = new Map<number, { at: number; answer: PromiseWithResolvers<number> }>();
  #lastBytesIn = 0;
  #silentTurns = 0;
  #nextPing = 1;

  constructor(options: LivenessOptions) {
    this.#options = options;
    if (options.intervalMs > 0) this.#timer = setInterval(() => this.#turn(), options.intervalMs).unref();
  }

  /** Milliseconds for a round trip. */
  ping(): Promise<number> {
    if (this.#waiting.size >= MAX_WAITING) return Promise.reject(new ServiceError('rate_limited'));
    const answer = Promise.withResolvers<number>();
    const id = this.#nextPing++;
    this.#waiting.set(id, { at: performance.now(), answer });
    this.#send(id);
    return answer.promise;
  }

  pong(payload: Uint8Array): void {
    if (payload.length !== 8) return;
    const id = Number(new DataView(payload.buffer, payload.byteOffset, 8).getBigUint64(0));
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return;
    this.#waiting.delete(id);
    waiting.answer.resolve(performance.now() - waiting.at);
  }

  stop(): void {
    clearInterval(this.#timer);
    for (const { answer } of this.#waiting.values())
      answer.reject(new ServiceError('interrupted', 'the link is closed'));
    this.#waiting.clear();
  }

  /** Counts turns of the timer, not the clock: a process that was stopped for a while has not heard the peer yet. */
  #turn(): void {
    const bytesIn = this.#options.bytesIn();
    if (bytesIn !== this.#lastBytesIn) {
      this.#lastBytesIn = bytesIn;
      this.#silentTurns = 0;
      return;
    }
    this.#silentTurns += 1;
    if (this.#silentTurns * this.#options.intervalMs >= this.#options.deadAfterMs) this.#options.dead();
    else this.#send(0);
  }

  #send(id: number): void {
    const payload = new Uint8Array(8);
    new DataView(payload.buffer).setBigUint64(0, BigInt(id));
    this.#options.ping(payload);
  }
}
