/** Work that waits, in groups which take turns; within a group first come, first served. */
export class Line {
  /** By group, the one whose turn is next first. None of them is empty. */
  readonly #waiting = new Map<string, Set<() => void>>();

  /** @returns what takes it out of the line, if it is still in it */
  enter(group: string, begin: () => void): () => void {
    const waiting = this.#waiting.get(group) ?? new Set();
    this.#waiting.set(group, waiting.add(begin));
    return () => {
      waiting.delete(begin);
      if (waiting.size === 0 && this.#waiting.get(group) === waiting) this.#waiting.delete(group);
    };
  }

  waiting(group: string): number {
    return this.#waiting.get(group)?.size ?? 0;
  }

  /** Takes the next one out, whose group then waits behind the others. */
  take(): (() => void) | undefined {
    for (const [group, waiting] of this.#waiting) {
      const [begin] = waiting;
      if (begin === undefined) continue;
      waiting.delete(begin);
      this.#waiting.delete(group);
      if (waiting.size > 0) this.#waiting.set(group, waiting);
      return begin;
    }
    return undefined;
  }
}
