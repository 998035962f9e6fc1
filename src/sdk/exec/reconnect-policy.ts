/** Reconnecting to a command after its stream has ended: whether a session may, how soon, and for how long. */
import { CUTS } from '../../protocol/cuts.ts';
import type { ServiceError } from '../../protocol/errors.ts';
import { LateOpens } from '../../protocol/late-opens.ts';
import { pauseMs } from '../http.ts';

/** Nothing was started: the same OPEN may be sent again. */
const NOT_YET: ReadonlySet<string> = new Set([...CUTS, 'sandbox_not_ready', 'rate_limited']);
/** A stream that lasted this long, or delivered output, resets the backoff. */
const STEADY_MS = 5_000;

export class ReconnectPolicy {
  readonly #resumeMs: number;
  readonly #lateOpens = new LateOpens();
  /** Since when there has been no open stream. */
  #cutAt: number | null = null;
  /** The current stream has delivered output. */
  #progressed = false;
  #openedAt = 0;
  #tries = 0;

  /** @param resumeMs how long to try after a cut */
  constructor(resumeMs: number) {
    this.#resumeMs = resumeMs;
  }

  /** There was a stream, and there is none now. */
  get disconnected(): boolean {
    return this.#cutAt !== null;
  }

  /** How long to wait before the next attempt; the first is made at once. */
  get pauseMs(): number {
    return this.#cutAt !== null && this.#tries > 1 ? pauseMs(this.#tries - 1) : 0;
  }

  /** An OPEN is sent. */
  asked(): void {
    this.#lateOpens.asked();
  }

  /** The OPEN was answered. */
  answered(): void {
    this.#lateOpens.answered();
    this.#openedAt = performance.now();
    this.#cutAt = null;
  }

  progressed(): void {
    this.#progressed = true;
  }

  /**
   * The stream ended with this error.
   * @param attaches whether the next one would attach, and start nothing
   * @returns whether a next stream may continue
   */
  mayResume(error: ServiceError, attaches: boolean): boolean {
    return this.#lateOpens.ended(error) || (attaches ? CUTS : NOT_YET).has(error.code);
  }

  /** Counts an attempt. @returns whether there is still time for it */
  countAttempt(): boolean {
    const now = performance.now();
    if (this.#progressed || now - this.#openedAt > STEADY_MS) this.#tries = 0;
    this.#progressed = false;
    this.#cutAt ??= now;
    this.#tries += 1;
    return now - this.#cutAt <= this.#resumeMs;
  }
}
