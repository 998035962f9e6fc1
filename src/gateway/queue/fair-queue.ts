/** A weighted round-robin queue: one line per tenant, and tenants take turns by their weight. */

export interface Waiting {
  readonly id: string;
  readonly tenant: string;
  /** Higher goes first within a tenant. */
  readonly priority: number;
  /** How many of this tenant's entries go in one turn; at least 1. */
  readonly weight: number;
}

interface Line<T> {
  waiting: T[];
  /** How many more of this tenant's entries go before the next tenant's turn. */
  turns: number;
}

/** Whoever asks for more positions than this between two changes gets them from a table of all. */
const FEW_POSITIONS = 16;

export class FairQueue<T extends Waiting> {
  /** By tenant, in the order of their turns. */
  readonly #lines = new Map<string, Line<T>>();
  readonly #all = new Map<string, T>();
  readonly #goesBefore: (a: T, b: T) => boolean;
  /** Of all, once many were asked for since the last change. */
  #positions: ReadonlyMap<string, number> | null = null;
  #asked = 0;

  /** @param goesBefore orders two items of the same priority; without it, as they are added. */
  constructor(goesBefore: (a: T, b: T) => boolean = () => false) {
    this.#goesBefore = goesBefore;
  }

  get size(): number {
    return this.#all.size;
  }

  /** Tenants with anything waiting, in a stable order unrelated to their turns. */
  get tenants(): string[] {
    return [...this.#lines.keys()].sort();
  }

  has(tenant: string): boolean {
    return this.#lines.has(tenant);
  }

  /** How many of this tenant wait. */
  count(tenant: string): number {
    return this.#lines.get(tenant)?.waiting.length ?? 0;
  }

  /** Length of the longest line. */
  get longest(): number {
    let most = 0;
    for (const { waiting } of this.#lines.values()) most = Math.max(most, waiting.length);
    return most;
  }

  get(id: string): T | undefined {
    return this.#all.get(id);
  }

  values(): IterableIterator<T> {
    return this.#all.values();
  }

  add(one: T): void {
    this.#changed();
    let line = this.#lines.get(one.tenant);
    if (line === undefined) this.#lines.set(one.tenant, (line = { waiting: [], turns: one.weight }));
    const behind = (other: T): boolean =>
      other.priority < one.priority || (other.priority === one.priority && this.#goesBefore(one, other));
    // A new entry nearly always goes last, so compare with the last one before searching.
    const last = line.waiting.at(-1);
    const at = last === undefined || !behind(last) ? line.waiting.length : line.waiting.findIndex(behind);
    line.waiting.splice(at, 0, one);
    this.#all.set(one.id, one);
  }

  remove(id: string): void {
    const one = this.#all.get(id);
    if (one === undefined) return;
    this.#changed();
    this.#all.delete(id);
    const waiting = this.#lines.get(one.tenant)?.waiting ?? [];
    const at = waiting.indexOf(one);
    if (at >= 0) waiting.splice(at, 1);
    if (waiting.length === 0) this.#lines.delete(one.tenant);
  }

  /** Entries of this tenant that go before this one, in order; all of the tenant's if it does not wait. */
  before(tenant: string, id: string | undefined): T[] {
    const waiting = this.#lines.get(tenant)?.waiting ?? [];
    const at = waiting.findIndex((one) => one.id === id);
    return waiting.slice(0, at < 0 ? waiting.length : at);
  }

  /** First entry of the line whose turn it is, skipping the tenants in `stuck`. */
  next(stuck: ReadonlySet<string>): T | undefined {
    for (const [tenant, { waiting }] of this.#lines) {
      if (waiting[0] !== undefined && !stuck.has(tenant)) return waiting[0];
    }
    return undefined;
  }

  /**
   * It leaves for a node and counts towards its tenant's turn. Once the turn is used up, the tenant moves to the back.
   */
  serve(id: string): void {
    const one = this.#all.get(id);
    if (one === undefined) return;
    this.remove(id);
    const { tenant } = one;
    const line = this.#lines.get(tenant);
    if (line === undefined) return;
    line.turns -= 1;
    if (line.turns > 0) return;
    line.turns = line.waiting[0]?.weight ?? 1;
    this.#lines.delete(tenant);
    this.#lines.set(tenant, line);
  }

  /** It was served but got no place: its tenant is owed that turn, and goes next. */
  giveBack(one: T): void {
    const [first] = this.#lines.keys();
    this.add(one);
    const line = this.#lines.get(one.tenant);
    if (line === undefined) return;
    if (first === one.tenant) {
      line.turns += 1;
      return;
    }
    line.turns = 1;
    const others = [...this.#lines].filter(([tenant]) => tenant !== one.tenant);
    this.#lines.clear();
    for (const [tenant, each] of [[one.tenant, line] as const, ...others]) this.#lines.set(tenant, each);
  }

  /** Number of entries that go before it (0: it is next), if all fit and nobody joins; null when it does not wait. */
  position(id: string): number | null {
    if (this.#positions === null && ++this.#asked > FEW_POSITIONS) this.#positions = this.#allPositions();
    if (this.#positions !== null) return this.#positions.get(id) ?? null;
    const one = this.#all.get(id);
    const own = one === undefined ? undefined : this.#lines.get(one.tenant);
    if (one === undefined || own === undefined) return null;
    const place = own.waiting.indexOf(one);
    // How many turns of its own line pass before it goes.
    const over = place < own.turns ? 0 : 1 + roundsOf(own, place - own.turns);
    let before = place;
    let behind = false;
    for (const line of this.#lines.values()) {
      if (line === own) behind = true;
      else before += servedIn(line, behind ? over : over + 1);
    }
    return before;
  }

  clear(): void {
    this.#changed();
    this.#lines.clear();
    this.#all.clear();
  }

  #changed(): void {
    this.#positions = null;
    this.#asked = 0;
  }

  /** As `position`, of each. One takes as long as a few of those: pages of a long queue would hold up everything else. */
  #allPositions(): Map<string, number> {
    const positions = new Map<string, number>();
    let lines = [...this.#lines.values()].map(({ waiting, turns }) => ({ waiting, turns, at: 0 }));
    while (lines.length > 0) {
      for (const line of lines) {
        const went = line.waiting.slice(line.at, line.at + line.turns);
        for (const { id } of went) positions.set(id, positions.size);
        line.at += went.length;
        line.turns = line.waiting[line.at]?.weight ?? 1;
      }
      lines = lines.filter(({ waiting, at }) => at < waiting.length);
    }
    return positions;
  }
}

/** How many entries of a line go in its next `count` turns, the first of which may already have begun. */
function servedIn<T extends Waiting>({ waiting, turns }: Line<T>, count: number): number {
  let went = count === 0 ? 0 : Math.min(turns, waiting.length);
  // The weight of the first entry in a turn is the length of that turn.
  for (let turn = 1; turn < count && went < waiting.length; turn++) went += waiting[went]?.weight ?? 1;
  return Math.min(went, waiting.length);
}

/** How many whole turns pass before the one in which `place` goes; `place` counts from the end of the current turn. */
function roundsOf<T extends Waiting>({ waiting, turns }: Line<T>, place: number): number {
  let rounds = 0;
  for (let at = 0; ; rounds++) {
    at += waiting[turns + at]?.weight ?? 1;
    if (at > place) return rounds;
  }
}
