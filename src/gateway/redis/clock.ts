/**
 * The clock that all gateways of one Redis share: that of Redis, as far as it can be known from here. Between two
 * measurements it follows this process's monotonic clock, so that a wrong or adjusted wall clock here has no effect.
 */
export class RedisClock {
  readonly #ownMs: () => number;
  readonly #wallMs: () => number;
  /** Offset to the monotonic clock; null: Redis has not answered yet. */
  #offsetMs: number | null = null;

  /** @param ownMs monotonic @param wallMs used until Redis has answered */
  constructor(ownMs: () => number = () => performance.now(), wallMs: () => number = Date.now) {
    this.#ownMs = ownMs;
    this.#wallMs = wallMs;
  }

  /** Whole milliseconds since 1970. */
  now = (): number => Math.round(this.#offsetMs === null ? this.#wallMs() : this.#ownMs() + this.#offsetMs);

  /** Measures the offset to Redis. Rejects as `time` does. */
  async look(time: () => Promise<readonly (number | string)[]>): Promise<void> {
    const asked = this.#ownMs();
    const [seconds = 0, micros = 0] = await time();
    const answered = this.#ownMs();
    const redisMs = Number(seconds) * 1_000 + Number(micros) / 1_000;
    // Redis's clock showed that time at some moment between the two.
    const [least, most] = [redisMs - answered, redisMs - asked];
    const known = this.#offsetMs;
    if (known === null || known < least || known > most) this.#offsetMs = (least + most) / 2;
  }
}
