/** The streams of one link, and which ids either side has used up: an id is never used twice. */
import type { Stream } from './stream.ts';

const MAX_STREAM_ID = 0xffff_ffff;

export class StreamTable {
  readonly #streams = new Map<number, Stream>();
  /** The lowest bit of our ids: odd for the side that dialled. */
  readonly #ourBit: number;
  #nextId: number;
  #lastPeerId = 0;
  /** Open streams that the peer opened. */
  #peerStreams = 0;

  constructor(role: 'dialler' | 'listener') {
    this.#ourBit = role === 'dialler' ? 1 : 0;
    this.#nextId = role === 'dialler' ? 1 : 2;
  }

  get size(): number {
    return this.#streams.size;
  }

  get peerStreams(): number {
    return this.#peerStreams;
  }

  get(id: number): Stream | undefined {
    return this.#streams.get(id);
  }

  /** The id of our next stream. Undefined: this link has used up its ids. */
  takeId(): number | undefined {
    if (this.#nextId > MAX_STREAM_ID) return undefined;
    const id = this.#nextId;
    this.#nextId += 2;
    return id;
  }

  /** Marks an id as used by the peer. Returns the rule that broke, if any. */
  takePeerId(id: number): string | undefined {
    if (this.#isOurs(id)) return `stream ${id} is not the peer's to open`;
    if (id <= this.#lastPeerId) return `stream ${id} was opened before`;
    this.#lastPeerId = id;
    return undefined;
  }

  /** Whether the id was ever used. Frames cross a RESET on the wire, so some arrive for streams that are gone. */
  wasOpen(id: number): boolean {
    return this.#isOurs(id) ? id < this.#nextId : id !== 0 && id <= this.#lastPeerId;
  }

  add(stream: Stream): void {
    this.#streams.set(stream.id, stream);
    if (!stream.ours) this.#peerStreams += 1;
  }

  /** False if it was gone already. */
  remove(stream: Stream): boolean {
    if (!this.#streams.delete(stream.id)) return false;
    if (!stream.ours) this.#peerStreams -= 1;
    return true;
  }

  all(): Stream[] {
    return [...this.#streams.values()];
  }

  #isOurs(id: number): boolean {
    return (id & 1) === this.#ourBit;
  }
}
