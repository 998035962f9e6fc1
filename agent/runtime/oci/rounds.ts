/**
 * Iterates over a collection a few items at a time, round after round; changes are picked up in the same round or the
 * next.
 */
export class Rounds<T> {
  readonly #all: () => Iterator<T>;
  #round: Iterator<T> | undefined;

  constructor(all: () => Iterator<T>) {
    this.#all = all;
  }

  /** The next `count` items; fewer at the end of a round. */
  *next(count: number): Generator<T> {
    for (let taken = 0; taken < count; taken += 1) {
      this.#round ??= this.#all();
      const next = this.#round.next();
      if (next.done === true) {
        this.#round = undefined;
        return;
      }
      yield next.value;
    }
  }
}
