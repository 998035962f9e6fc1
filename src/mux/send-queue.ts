/** What a stream could not send yet: bytes by channel, and the control frames that must not overtake them. */
import { giveBuffer, takeBuffer } from './buffers.ts';

interface Bytes {
  channel: number;
  buffer: Uint8Array;
  start: number;
  end: number;
}
interface ControlFrame {
  type: number;
  channel: number;
  payload: Uint8Array;
}
type Item = Bytes | ControlFrame;

const isBytes = (item: Item): item is Bytes => 'buffer' in item;

export class SendQueue {
  #items: Item[] = [];
  #head = 0;
  /** Bytes of data queued. */
  bytes = 0;
  /** Control frames queued. */
  controls = 0;

  get empty(): boolean {
    return this.#head === this.#items.length;
  }

  /** Copies `data`. */
  pushBytes(channel: number, data: Uint8Array): void {
    this.bytes += data.length;
    let rest = data;
    const tail = this.empty ? undefined : this.#items[this.#items.length - 1];
    if (tail !== undefined && isBytes(tail) && tail.channel === channel) {
      const n = Math.min(rest.length, tail.buffer.length - tail.end);
      if (n > 0) {
        tail.buffer.set(n === rest.length ? rest : rest.subarray(0, n), tail.end);
        tail.end += n;
        rest = rest.subarray(n);
      }
    }
    while (rest.length > 0) {
      const buffer = takeBuffer(rest.length);
      const n = Math.min(rest.length, buffer.length);
      buffer.set(n === rest.length ? rest : rest.subarray(0, n));
      this.#items.push({ channel, buffer, start: 0, end: n });
      rest = rest.subarray(n);
    }
  }

  pushControl(frame: ControlFrame): void {
    this.controls += 1;
    this.#items.push(frame);
  }

  headChannel(): number {
    const head = this.#items[this.#head];
    return head !== undefined && isBytes(head) ? head.channel : 0;
  }

  /** Moves up to `max` bytes of the first item to `out`. */
  moveTo(out: Uint8Array, offset: number, max: number): number {
    const head = this.#items[this.#head];
    if (head === undefined || !isBytes(head)) return 0;
    const n = Math.min(max, head.end - head.start);
    out.set(head.buffer.subarray(head.start, head.start + n), offset);
    head.start += n;
    this.bytes -= n;
    if (head.start === head.end) {
      giveBuffer(head.buffer);
      this.#shift();
    }
    return n;
  }

  /** Takes the control frame at the head, if there is one. */
  takeControl(): ControlFrame | undefined {
    const head = this.#items[this.#head];
    if (head === undefined || isBytes(head)) return undefined;
    this.controls -= 1;
    this.#shift();
    return head;
  }

  clear(): void {
    for (const item of this.#items.slice(this.#head)) if (isBytes(item)) giveBuffer(item.buffer);
    this.#items = [];
    this.#head = 0;
    this.bytes = 0;
    this.controls = 0;
  }

  #shift(): void {
    this.#head += 1;
    if (this.#head === this.#items.length) {
      this.#items = [];
      this.#head = 0;
    } else if (this.#head >= 64 && this.#head * 2 >= this.#items.length) {
      this.#items.splice(0, this.#head);
      this.#head = 0;
    }
  }
}
