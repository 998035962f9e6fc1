/** Two multiplexers on a wire that delivers chunks of random size, at times chosen by the test. */
import {
  createMux,
  memoryPair,
  type Json,
  type MemoryPair,
  type Mux,
  type MuxStream,
  type StreamHandler,
} from '../../src/mux/index.ts';
import type { ServiceError } from '../../src/protocol/errors.ts';
import { Direction, watched } from './wire-observer.ts';

/**
 * One end of a stream: what was written to it, and what it received. Consecutive bytes of one channel are one entry.
 */
export class Recorder {
  readonly written: string[] = [];
  readonly received: string[] = [];
  closedWith: ServiceError | null | undefined = undefined;
  closedTimes = 0;
  stalled = false;
  ended = false;
  peerEnded = false;
  waiting = 0;
  #held = 0;
  stream!: MuxStream;

  readonly handler: StreamHandler = {
    data: (channel, bytes) => {
      append(this.received, channel, bytes);
      this.#held += bytes.length;
      if (!this.stalled) this.release();
    },
    event: (message) => this.received.push(`event ${JSON.stringify(message)}`),
    fin: (channel) => {
      this.received.push(`fin ${channel}`);
      if (channel === 0xffff) this.peerEnded = true;
    },
    closed: (error) => {
      this.closedWith = error;
      this.closedTimes += 1;
    },
  };

  write(channel: number, bytes: Uint8Array): void {
    if (this.ended || this.stream.closed || this.waiting > 0 || bytes.length === 0) return;
    append(this.written, channel, bytes);
    const drained = this.stream.write(channel, bytes);
    if (drained === undefined) return;
    this.waiting += 1;
    void drained.then(() => (this.waiting -= 1));
  }

  event(message: Json): void {
    if (this.ended || this.stream.closed) return;
    this.written.push(`event ${JSON.stringify(message)}`);
    this.stream.event(message);
  }

  end(): void {
    if (this.ended || this.stream.closed) return;
    this.ended = true;
    this.written.push('fin 65535');
    this.stream.end();
  }

  release(): void {
    const held = this.#held;
    this.#held = 0;
    // In two parts: credit may be returned in any portions.
    this.stream.consume(held >> 1);
    this.stream.consume(held - (held >> 1));
  }
}

function append(log: string[], channel: number, bytes: Uint8Array): void {
  const last = log[log.length - 1];
  const text = Buffer.from(bytes).toString('latin1');
  if (last?.startsWith(`${channel}:`)) log[log.length - 1] = last + text;
  else log.push(`${channel}:${text}`);
}

export interface Side {
  mux: Mux;
  out: Direction;
  ends: Recorder[];
  /** By stream id. */
  accepted: Map<number, Recorder>;
  closedWith: ServiceError | null | undefined;
}

export class World {
  readonly a: Side;
  readonly b: Side;
  readonly link: MemoryPair;
  readonly #tasks: (() => void)[] = [];
  #failure: Error | undefined;

  constructor(split: (left: number) => number, deepWire = false) {
    this.link = memoryPair({ split, deep: deepWire, schedule: (deliver) => this.#tasks.push(deliver) });
    const outA = new Direction();
    const outB = new Direction();
    const watch = (mine: Direction, other: Direction) => (bytes: Uint8Array) => {
      try {
        mine.take(bytes, other);
      } catch (error) {
        this.#failure ??= error as Error;
      }
    };
    this.a = this.#side('dialler', watched(this.link.a, watch(outA, outB)), outA);
    this.b = this.#side('listener', watched(this.link.b, watch(outB, outA)), outB);
  }

  #side(role: 'dialler' | 'listener', transport: Parameters<typeof createMux>[0]['transport'], out: Direction): Side {
    const side: Omit<Side, 'mux'> = { out, ends: [], accepted: new Map(), closedWith: undefined };
    const mux = createMux({
      transport,
      role,
      hello: { generation: 1 },
      onHello: () => undefined,
      onOpen: (stream) => {
        const recorder = new Recorder();
        recorder.stream = stream;
        side.accepted.set(stream.id, recorder);
        stream.accept();
        return recorder.handler;
      },
      onClose: (error) => (side.closedWith = error),
      pingIntervalMs: 0,
      // A wire at rest has nothing pending: no timer may send later.
      lazyMs: 0,
    });
    return Object.assign(side, { mux });
  }

  open(side: Side): Recorder {
    const recorder = new Recorder();
    recorder.stream = side.mux.open({ op: 'test' }, recorder.handler);
    side.ends.push(recorder);
    return recorder;
  }

  /** Makes one delivery. False if there is nothing to deliver. */
  async step(pick = 0): Promise<boolean> {
    await turn();
    const [task] = this.#tasks.splice(pick % Math.max(1, this.#tasks.length), 1);
    task?.();
    await turn();
    if (this.#failure !== undefined) throw this.#failure;
    return task !== undefined;
  }

  /** Runs until nothing moves any more. Bounded by a count: a wire that never rests is an error. */
  async settle(): Promise<void> {
    for (let i = 0; i < 20_000; i++) if (!(await this.step())) return;
    throw new Error('the wire never rests');
  }
}

/** Runs all microtasks. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
