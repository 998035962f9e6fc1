/**
 * Limits how much of one kind of work happens in a turn of the event loop. A burst of it, which may arrive as one chunk of
 * a socket, would otherwise hold up everything else that the process serves until all of it is done.
 */
export class PerTurn {
  readonly #most: number;
  readonly #waiting: (() => void)[] = [];
  #begun = 0;
  #counting = false;

  /** @param most pieces of work begun per turn */
  constructor(most: number) {
    this.#most = most;
  }

  /** Whether the caller may begin its piece now. If not, it asks `next`. */
  now(): boolean {
    if (this.#begun >= this.#most) return false;
    this.#begun += 1;
    if (!this.#counting) this.#afterThisTurn();
    return true;
  }

  /**
   * Resolves when the caller may begin its piece: at once, or in a later turn, first come first served. There are as many
   * waiting as callers: whoever accepts the work bounds it.
   */
  async next(): Promise<void> {
    if (!this.now()) await new Promise<void>((resolve) => void this.#waiting.push(resolve));
  }

  #afterThisTurn(): void {
    this.#counting = true;
    // Sockets are read before it runs again.
    setImmediate(() => {
      const next = this.#waiting.splice(0, this.#most);
      this.#begun = next.length;
      for (const begin of next) begin();
      if (next.length > 0) this.#afterThisTurn();
      else this.#counting = false;
    });
  }
}
