/**
 * Limits how much of one kind of work happens in a turn of the event loop. A burst of it, which may arrive as one chunk of
 * a socket, would otherwise hold up everything else that the process serves until all of it is done.
 */
export class PerTurn {
  readonly #most: number;
  /** By group, the one whose turn is next first. */
  readonly #waiting = new Map<string, Set<() => void>>();
  #begun = 0;
  #counting = false;

  /** @param most pieces of work begun per turn */
  constructor(most: number) {
    this.#most = most;
  }

  /** Whether the caller may begin its piece now. If not, it asks `next` or `enter`. */
  now(): boolean {
    if (this.#begun >= this.#most) return false;
    this.#begun += 1;
    if (!this.#counting) this.#afterThisTurn();
    return true;
  }

  /** Resolves when the caller may begin its piece: at once, or in a later turn. */
  async next(): Promise<void> {
    if (!this.now()) await new Promise<void>((resolve) => void this.#wait('', resolve));
  }

  /**
   * Calls `begin`, which must not throw, at once or in a later turn: within a group first come first served, and of several
   * groups one after the other. There are as many waiting as callers: whoever accepts the work bounds it.
   * @returns what takes it out of the line, if it has not begun
   */
  enter(group: string, begin: () => void): () => void {
    if (!this.now()) return this.#wait(group, begin);
    begin();
    return () => undefined;
  }

  /** How many of this group have not begun. */
  waiting(group: string): number {
    return this.#waiting.get(group)?.size ?? 0;
  }

  #wait(group: string, begin: () => void): () => void {
    const waiting = this.#waiting.get(group) ?? new Set();
    this.#waiting.set(group, waiting.add(begin));
    return () => {
      waiting.delete(begin);
      if (waiting.size === 0 && this.#waiting.get(group) === waiting) this.#waiting.delete(group);
    };
  }

  #afterThisTurn(): void {
    this.#counting = true;
    // Sockets are read before it runs again.
    setImmediate(() => {
      this.#begun = 0;
      for (let begin = this.#take(); begin !== undefined; begin = this.#take()) begin();
      if (this.#begun > 0) this.#afterThisTurn();
      else this.#counting = false;
    });
  }

  /** The next one, whose group then waits behind the others; undefined if it is not for this turn. */
  #take(): (() => void) | undefined {
    if (this.#begun >= this.#most) return undefined;
    for (const [group, waiting] of this.#waiting) {
      const [begin] = waiting;
      if (begin === undefined) continue;
      this.#begun += 1;
      waiting.delete(begin);
      this.#waiting.delete(group);
      if (waiting.size > 0) this.#waiting.set(group, waiting);
      return begin;
    }
    return undefined;
  }
}
