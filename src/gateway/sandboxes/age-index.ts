/** The sandboxes of one tenant by age, for pages that stay right while sandboxes come and go. */

export interface Aged {
  readonly id: string;
  readonly createdAtMs: number;
}

export interface Position {
  createdAtMs: number;
  id: string;
}

export class AgeIndex<T extends Aged> {
  readonly #items: T[] = [];

  get size(): number {
    return this.#items.length;
  }

  add(item: T): void {
    this.#items.splice(this.#after(item), 0, item);
  }

  remove(item: T): void {
    const at = this.#after(item) - 1;
    if (this.#items[at] === item) this.#items.splice(at, 1);
  }

  /** The items after a position, oldest first. */
  *from(position: Position | null): Generator<T> {
    const start = position === null ? 0 : this.#after(position);
    for (let i = start; i < this.#items.length; i++) {
      const item = this.#items[i];
      if (item !== undefined) yield item;
    }
  }

  /** Index of the first item after the position. New items nearly always belong at the end. */
  #after(position: Position): number {
    let low = 0;
    let high = this.#items.length;
    const last = this.#items[high - 1];
    if (last === undefined || compare(last, position) <= 0) return high;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const item = this.#items[middle];
      if (item !== undefined && compare(item, position) <= 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function compare(a: Position, b: Position): number {
  if (a.createdAtMs !== b.createdAtMs) return a.createdAtMs - b.createdAtMs;
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}

export function encodeCursor(position: Position): string {
  return Buffer.from(`${position.createdAtMs}:${position.id}`).toString('base64url');
}

/** Undefined if the cursor was not made by this API. */
export function decodeCursor(cursor: string): Position | undefined {
  const match = /^(\d{1,15}):([a-z0-9-]{1,64})$/.exec(Buffer.from(cursor, 'base64url').toString('latin1'));
  return match === null ? undefined : { createdAtMs: Number(match[1]), id: match[2] ?? '' };
}
