/** One link: many streams over one transport, in both directions. The rules are in docs/protocol.md. */
import { ServiceError } from '../protocol/errors.ts';
import { FLAG_OPTIONAL, FrameType } from '../protocol/frames.ts';
import {
  LAZY_MS,
  LINK_DEAD_MS,
  LINK_WINDOW_BYTES,
  MAX_CONTROL_BYTES,
  MAX_STREAMS_PER_LINK,
  PING_INTERVAL_MS,
} from '../protocol/limits.ts';
import { Liveness } from './liveness.ts';
import { FrameParser, type FrameSink } from './parser.ts';
import { Sender } from './sender.ts';
import { EMPTY, encodeJson, encodeU32, parseJson, readU32 } from './payloads.ts';
import { Stream, type StreamOwner } from './stream.ts';
import { isKnown, takeFrame } from './stream-frames.ts';
import { StreamTable } from './stream-table.ts';
import type { Json, Mux, MuxOptions, MuxStream, StreamHandler } from './types.ts';

/** Violations that cost only the stream. One more costs the link. */
const MAX_STRIKES = 1;
/** When a request that found no room may find some. */
const RETRY_MS = 500;
/** Limit on unread answers to the peer's frames. What we ask of it, or were asked for before, is not its fault. */
const MAX_ANSWER_BACKLOG_BYTES = 1024 * 1024;

/** Starts the multiplexer: our HELLO has been queued when this returns. */
export function createMux(options: MuxOptions): Mux {
  return new Link(options);
}

class Link implements Mux, StreamOwner, FrameSink {
  readonly sender: Sender;
  readonly #options: MuxOptions;
  readonly #parser: FrameParser;
  readonly #liveness: Liveness;
  readonly #streams: StreamTable;
  readonly #maxStreams: number;
  #closed = false;
  /** The last frame, which states the reason, is being queued. */
  #closing = false;
  #greeted = false;
  #peerDrains = false;
  #weDrain = false;
  #strikes = 0;
  #linkWindow = LINK_WINDOW_BYTES;
  #bytesIn = 0;
  /** The stream that receives the current DATA frame. Null: the stream is gone, and the bytes are discarded. */
  #dataStream: Stream | null = null;
  #dataChannel = 0;

  constructor(options: MuxOptions) {
    this.#options = options;
    this.#streams = new StreamTable(options.role);
    this.#maxStreams = options.maxStreams ?? MAX_STREAMS_PER_LINK;
    this.#parser = new FrameParser(this);
    this.sender = new Sender(options.transport, options.lazyMs ?? LAZY_MS, () => this.#overflowed());
    this.#liveness = new Liveness({
      intervalMs: options.pingIntervalMs ?? PING_INTERVAL_MS,
      deadAfterMs: options.deadAfterMs ?? LINK_DEAD_MS,
      answerWithinMs: options.answerWithinMs ?? 0,
      bytesIn: () => this.#bytesIn,
      ping: (payload) => this.sender.control(FrameType.PING, 0, 0, 0, payload),
      dead: (why) => this.close(new ServiceError('interrupted', why)),
    });
    this.sender.control(FrameType.HELLO, 0, 0, 0, encodeJson(options.hello));
    options.transport.start(
      (chunk) => this.#receive(chunk),
      (error) => this.#lost(error === null ? null : new ServiceError('interrupted', error.message, { cause: error })),
    );
  }

  get closed(): boolean {
    return this.#closed;
  }

  get stats(): Mux['stats'] {
    const { late } = this.#liveness;
    const streams = this.#streams.size;
    return { bytesIn: this.#bytesIn, bytesOut: this.sender.bytesOut, streams, lateHeartbeats: late };
  }

  open(request: Json, handler: StreamHandler): MuxStream {
    if (this.#closed) throw new ServiceError('node_unavailable', 'the link is closed');
    if (this.#peerDrains) throw new ServiceError('draining');
    const payload = encodeJson(request);
    if (payload.length > MAX_CONTROL_BYTES) {
      throw new ServiceError('invalid_request', `a request of ${payload.length} bytes; at most ${MAX_CONTROL_BYTES}`);
    }
    if (!this.sender.takesControl(payload.length)) {
      // Not the fault of the streams that are open. Whether the peer is alive, its answers to PINGs show.
      throw new ServiceError('rate_limited', 'too many requests wait for the link', { retryAfterMs: RETRY_MS });
    }
    const id = this.#streams.takeId();
    if (id === undefined) {
      if (this.#streams.size === 0) this.close();
      throw new ServiceError('draining', 'the link has used up its stream ids');
    }
    const stream = new Stream(this, id, { request, bytes: payload.length, ours: true });
    stream.handler = handler;
    this.#streams.add(stream);
    this.sender.control(FrameType.OPEN, 0, 0, stream.id, payload);
    return stream;
  }

  get crowded(): boolean {
    return this.sender.crowded;
  }

  room(): Promise<void> {
    return this.sender.room();
  }

  goaway(): void {
    if (this.#closed || this.#weDrain) return;
    this.#weDrain = true;
    this.sender.control(FrameType.GOAWAY, 0, 0, 0, EMPTY);
  }

  close(error?: ServiceError): void {
    if (this.#closed || this.#closing) return;
    this.#closing = true;
    // The last frame to the peer, if it still reads.
    if (error !== undefined) this.sender.control(FrameType.RESET, 0, 0, 0, encodeJson(error.toWire()));
    // What a stream sent just before is not lost: it may have acknowledged an exit.
    this.sender.flush();
    this.#shut(error ?? null);
    this.#options.transport.close(error?.toWire());
    this.#notify(() => this.#options.onClose?.(error ?? null));
  }

  ping(): Promise<number> {
    if (this.#closed) return Promise.reject(new ServiceError('node_unavailable', 'the link is closed'));
    return this.#liveness.ping();
  }

  gone(stream: Stream, error: ServiceError | null, later: boolean): void {
    if (!this.#streams.remove(stream)) return;
    stream.release();
    const tell = (): void => this.#notify(() => stream.handler.closed?.(error));
    if (later) queueMicrotask(tell);
    else tell();
  }

  // Receiving. Nothing below throws into the transport.

  #receive(chunk: Uint8Array): void {
    if (this.#closed) return;
    this.#bytesIn += chunk.length;
    try {
      this.#parser.push(chunk);
    } catch (error) {
      this.#violated(error instanceof Error ? error.message : String(error));
    }
  }

  control(type: number, flags: number, channel: number, id: number, payload: Uint8Array): boolean {
    if (!this.#greeted) this.#greet(type, id, payload);
    else if (id === 0) this.#linkFrame(type, flags, payload);
    else if (type === FrameType.OPEN) this.#opened(id, payload);
    else this.#streamFrame(type, flags, channel, id, payload);
    return !this.#closed;
  }

  dataHeader(channel: number, id: number, length: number): boolean {
    this.#dataStream = null;
    if (!this.#greeted) return this.#violated('the first frame is not HELLO');
    if (length > this.#linkWindow) return this.#violated('more bytes than the credit of the link');
    this.#linkWindow -= length;
    // Returned on receipt: it bounds what is on the wire, not what is held.
    if (this.#linkWindow <= LINK_WINDOW_BYTES / 2) {
      const back = LINK_WINDOW_BYTES - this.#linkWindow;
      this.#linkWindow = LINK_WINDOW_BYTES;
      this.sender.control(FrameType.CREDIT, 0, 0, 0, encodeU32(back));
    }
    const stream = this.#streams.get(id);
    if (stream === undefined)
      return this.#streams.wasOpen(id) || this.#violated(`DATA for stream ${id}, which was never opened`);
    const broken = stream.takeDataHeader(channel, length);
    if (broken !== undefined) this.#strike(stream, broken);
    else {
      this.#dataStream = stream;
      this.#dataChannel = channel;
    }
    return !this.#closed;
  }

  dataBytes(bytes: Uint8Array): boolean {
    const stream = this.#dataStream;
    if (stream !== null && !stream.closed) {
      try {
        stream.takeData(this.#dataChannel, bytes);
      } catch (error) {
        this.#handlerFailed(stream, error);
      }
    }
    return !this.#closed;
  }

  #greet(type: number, id: number, payload: Uint8Array): void {
    // A peer that rejects us gives the reason before it hangs up.
    if (type === FrameType.RESET && id === 0) return this.#hungUp(payload);
    const hello = type === FrameType.HELLO && id === 0 ? parseJson(payload) : undefined;
    if (hello === undefined) return void this.#violated('the first frame is not HELLO');
    this.#greeted = true;
    try {
      this.#options.onHello(hello);
    } catch (error) {
      this.close(ServiceError.from(error));
    }
  }

  #linkFrame(type: number, flags: number, payload: Uint8Array): void {
    switch (type) {
      case FrameType.CREDIT: {
        const bytes = readU32(payload);
        if (bytes === 0 || this.sender.linkCredit + bytes > LINK_WINDOW_BYTES) {
          return void this.#violated(`a credit of ${bytes} above the link's window`);
        }
        return this.sender.addLinkCredit(bytes);
      }
      case FrameType.PING:
        if (payload.length > 64) return void this.#violated('a PING of more than 64 bytes');
        return this.#answer(FrameType.PONG, 0, payload);
      case FrameType.PONG:
        return this.#liveness.pong(payload);
      case FrameType.GOAWAY:
        if (this.#peerDrains) return;
        this.#peerDrains = true;
        return this.#notify(() => this.#options.onGoaway?.());
      case FrameType.RESET:
        return this.#hungUp(payload);
      default:
        if (!isKnown(type) && (flags & FLAG_OPTIONAL) !== 0) return;
        return void this.#violated(`a frame of type ${type} on stream 0`);
    }
  }

  #opened(id: number, payload: Uint8Array): void {
    const broken = this.#streams.takePeerId(id);
    if (broken !== undefined) return void this.#violated(broken);
    const request = parseJson(payload);
    if (request === undefined) {
      this.#refuse(id, new ServiceError('protocol_error', 'the request is not a JSON object'));
      return this.#countStrike('a request that is not a JSON object');
    }
    if (this.#weDrain) return this.#refuse(id, new ServiceError('draining'));
    if (this.#streams.peerStreams >= this.#maxStreams) {
      return this.#refuse(id, new ServiceError('rate_limited', `at most ${this.#maxStreams} streams on one link`));
    }
    if (this.#options.onOpen === undefined) return this.#refuse(id, new ServiceError('not_supported'));
    const stream = new Stream(this, id, { request, bytes: payload.length, ours: false });
    this.#streams.add(stream);
    try {
      stream.handler = this.#options.onOpen(stream);
    } catch (error) {
      stream.refuse(ServiceError.from(error));
    }
  }

  #streamFrame(type: number, flags: number, channel: number, id: number, payload: Uint8Array): void {
    if (!isKnown(type)) {
      if ((flags & FLAG_OPTIONAL) === 0) this.#violated(`a frame of unknown type ${type}`);
      return;
    }
    const stream = this.#streams.get(id);
    if (stream === undefined) {
      if (!this.#streams.wasOpen(id)) this.#violated(`a frame for stream ${id}, which was never opened`);
      return;
    }
    try {
      const broken = takeFrame(stream, type, channel, payload, (error) => this.gone(stream, error, false));
      if (broken !== undefined) this.#strike(stream, broken);
    } catch (error) {
      this.#handlerFailed(stream, error);
    }
  }

  #refuse(id: number, error: ServiceError): void {
    this.#answer(FrameType.REFUSED, id, encodeJson(error.toWire()));
  }

  /** Answers a frame of the peer. A peer that keeps asking without reading the answers is cut off. */
  #answer(type: number, id: number, payload: Uint8Array): void {
    this.sender.control(type, 0, 0, id, payload);
    if (this.sender.answerBacklog > MAX_ANSWER_BACKLOG_BYTES)
      this.#violated('the peer sends requests and does not read the answers');
  }

  #strike(stream: Stream, rule: string): void {
    stream.reset(new ServiceError('protocol_error', rule));
    this.#countStrike(rule);
  }

  #countStrike(rule: string): void {
    this.#strikes += 1;
    if (this.#strikes > MAX_STRIKES) this.#violated(rule);
  }

  /** Always false, which makes the parser stop. */
  #violated(rule: string): false {
    this.close(new ServiceError('protocol_error', rule));
    return false;
  }

  /** More control frames are queued than a peer that reads would ever leave. */
  #overflowed(): void {
    this.close(new ServiceError('protocol_error', 'the peer does not read'));
  }

  #handlerFailed(stream: Stream, error: unknown): void {
    if (!stream.closed) stream.reset(ServiceError.from(error));
  }

  #hungUp(payload: Uint8Array): void {
    const error = ServiceError.fromWire(parseJson(payload));
    this.#lost(error);
    this.#options.transport.close();
  }

  #lost(error: ServiceError | null): void {
    if (this.#closed) return;
    const why = error ?? new ServiceError('interrupted', 'the peer closed the link');
    this.#shut(why);
    this.#notify(() => this.#options.onClose?.(why));
  }

  /** Every stream is closed before the link's owner is notified. */
  #shut(error: ServiceError | null): void {
    this.#closed = true;
    this.#liveness.stop();
    this.sender.close();
    const why = new ServiceError('interrupted', `the link was lost: ${error?.message ?? 'closed'}`, { cause: error });
    for (const stream of this.#streams.all()) this.gone(stream, why, false);
  }

  /** A callback of the owner that throws must not stop the others, nor take the process down. */
  #notify(callback: () => void): void {
    try {
      callback();
    } catch (error) {
      this.#options.onFailure?.(error);
    }
  }
}
