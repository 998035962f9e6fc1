/**
 * The clock that all gateways of one Redis go by: that of Redis, as far as it can be known from here. It runs on by this
 * process's monotonic clock between two looks, so a wall clock that is wrong or set here changes nothing.
 */
export class RedisClock {
  readonly #ownMs: () => number;
  readonly #wallMs: () => number;
  /** What is to be added to the monotonic clock; null: Redis was not heard yet. */
  #offsetMs: number | null = null;

  /** @param ownMs monotonic @param wallMs what counts until Redis was heard */
  constructor(ownMs: () => number = () => performance.now(), wallMs: () => number = Date.now) {
    this.#ownMs = ownMs;
    this.#wallMs = wallMs;
  }

  /** Whole milliseconds since 1970. */
  now = (): number => Math.round(this.#offsetMs === null ? this.#wallMs() : this.#ownMs() + this.#offsetMs);

  /** Asks Redis for its time. Rejects as `time` does. */
  async look(time: () => Promise<readonly (number | string)[]>): Promise<void> {
    const asked = this.#ownMs();
    const [seconds = 0, micros = 0] = await time();
    const answered = this.#ownMs();
    const redisMs = Number(seconds) * 1_000 + Number(micros) / 1_000;
    // It was that time there at some moment between the two.
    const [least, most] = [redisMs - answered, redisMs - asked];
    const known = this.#offsetMs;
    if (known === null || known < least || known > most) this.#offsetMs = (least + most) / 2;
  }
}
