/**
 * Returns credit once the side that the bytes went to has room again. One callback serves all frames that wait for the
 * same room: with one for each, small frames would take a hundred times the memory of their bytes.
 */
export class DeferredCredit {
  readonly #consume: (bytes: number) => void;
  #room: Promise<void> | null = null;
  #owed = { bytes: 0 };

  constructor(consume: (bytes: number) => void) {
    this.#consume = consume;
  }

  /** @param room the result of writing these bytes */
  when(room: Promise<void> | undefined, bytes: number): void {
    if (room === undefined) return this.#consume(bytes);
    if (room === this.#room) {
      this.#owed.bytes += bytes;
      return;
    }
    const owed = { bytes };
    this.#room = room;
    this.#owed = owed;
    void room.then(() => {
      if (this.#room === room) this.#room = null;
      this.#consume(owed.bytes);
    });
  }
}
