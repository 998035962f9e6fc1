/** Input that was sent to a command and not yet consumed, with the callbacks of its readers, which take turns. */

type Taken = (bytes: number) => void;

export class SentInput {
  #parts: { bytes: number; taken: Taken }[] = [];

  add(bytes: number, taken: Taken): void {
    const last = this.#parts.at(-1);
    if (last?.taken === taken) last.bytes += bytes;
    else this.#parts.push({ bytes, taken });
  }

  /** So many bytes have been consumed, the oldest first. */
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

  /** All counts as consumed. */
  settle(): void {
    for (const { bytes, taken } of this.#parts.splice(0)) taken(bytes);
  }

  /** No callback is called. */
  forget(): void {
    this.#parts = [];
  }
}
