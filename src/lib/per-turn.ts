import { Line } from './line.ts';

/**
 * Limits how much of one kind of work happens in a turn of the event loop. A burst of it, which may arrive as one chunk of
 * a socket, would otherwise hold up everything else that the process serves until all of it is done.
 */
export class PerTurn {
  readonly #most: number;
  readonly #line = new Line();
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
    if (!this.now()) await new Promise<void>((resolve) => void this.#line.enter('', resolve));
  }

  /**
   * Calls `begin`, which must not throw, at once or in a later turn: within a group first come first served, and of several
   * groups one after the other. There are as many waiting as callers: whoever accepts the work bounds it.
   * @returns what takes it out of the line, if it has not begun
   */
  enter(group: string, begin: () => void): () => void {
    if (!this.now()) return this.#line.enter(group, begin);
    begin();
    return () => undefined;
  }

  /** How many of this group have not begun. */
  waiting(group: string): number {
    return this.#line.waiting(group);
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

  /** Undefined if there is none, or it is not for this turn. */
  #take(): (() => void) | undefined {
    if (this.#begun >= this.#most) return undefined;
    const begin = this.#line.take();
    if (begin !== undefined) this.#begun += 1;
    return begin;
  }
}
