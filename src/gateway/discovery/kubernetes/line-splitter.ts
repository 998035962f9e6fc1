/** Cuts the response of a watch into lines, each of which is one event. */
import { MalformedError } from './errors.ts';

const NEWLINE = 0x0a;

export class LineSplitter {
  readonly #max: number;
  #parts: Uint8Array[] = [];
  #size = 0;

  constructor(max: number) {
    this.#max = max;
  }

  /**
   * The lines that end in this chunk.
   * @throws MalformedError when one is longer than `max` bytes
   */
  *push(chunk: Uint8Array): Generator<string> {
    let from = 0;
    for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, from)) {
      this.#keep(chunk.subarray(from, at));
      from = at + 1;
      const line = Buffer.concat(this.#parts, this.#size).toString('utf8');
      this.#parts = [];
      this.#size = 0;
      if (line.trim() !== '') yield line;
    }
    if (from < chunk.length) this.#keep(chunk.subarray(from));
  }

  #keep(part: Uint8Array): void {
    this.#size += part.length;
    if (this.#size > this.#max) throw new MalformedError(`an event of more than ${this.#max} bytes`);
    this.#parts.push(part);
  }
}
