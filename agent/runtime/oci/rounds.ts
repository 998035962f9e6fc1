/** Goes through a collection a few at a time, round after round: what changes meanwhile is seen in the same or the next. */
export class Rounds<T> {
  readonly #all: () => Iterator<T>;
  #round: Iterator<T> | undefined;

  constructor(all: () => Iterator<T>) {
    this.#all = all;
  }

  /** The next `count`; fewer at the end of a round. */
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
