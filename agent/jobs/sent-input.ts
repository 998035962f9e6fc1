/** Input sent to a command but not yet consumed, in order, each part with its reader's callback. */

type Taken = (bytes: number) => void;

export class SentInput {
  #parts: { bytes: number; taken: Taken }[] = [];

  add(bytes: number, taken: Taken): void {
    const last = this.#parts.at(-1);
    if (last?.taken === taken) last.bytes += bytes;
    else this.#parts.push({ bytes, taken });
  }

  /** This many bytes have been consumed, oldest first. */
  consumed(bytes: number): void {
    for (let left = bytes; left > 0;) {
      const [first] = this.#parts;
      if (first === undefined) return;
      const taken = Math.min(left, first.bytes);
      first.bytes -= taken;
      left -= taken;
      first.taken(taken);
      if (first.bytes === 0) this.#parts.shift();
    }
  }

  /** Everything counts as consumed. */
  settle(): void {
    for (const { bytes, taken } of this.#parts.splice(0)) taken(bytes);
  }

  /** Discards everything without calling any callback. */
  forget(): void {
    this.#parts = [];
  }
}
