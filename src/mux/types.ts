/** What the multiplexer offers and what it asks of a transport. The rules of the wire are in docs/protocol.md. */
import type { ServiceError, WireError } from '../protocol/errors.ts';

export type Json = Record<string, unknown>;

/** A connection that carries bytes in order: a WebSocket (many frames per message) or a unix socket. */
export interface Transport {
  /** Bytes in front of what `send` is given that the transport may write. Default: none. */
  readonly headroom?: number;
  /**
   * Hands bytes to the wire. `sent` is called once the wire has taken them (not: delivered); the mux may reuse the
   * memory of `bytes` after that and not before. Until then the transport may change them.
   */
  send(bytes: Uint8Array, sent: () => void): void;
  /**
   * Called once by the mux, which then gets every chunk that arrives. The chunk's memory is the mux's only until the
   * callback returns. `onClose` is called once.
   */
  start(onBytes: (chunk: Uint8Array) => void, onClose: (error: Error | null) => void): void;
  /** Ends the connection at once. */
  close(error?: WireError): void;
  /** Whether the connection keeps the process alive. A client does not let an idle one do so. */
  ref?(alive: boolean): void;
}

/**
 * Callbacks for the owner of a stream. Called synchronously while bytes are taken from the transport: they never throw
 * and never block.
 */
export interface StreamHandler {
  /** The responder accepted. Only on the opener's side. */
  opened?(answer: Json): void;
  /**
   * Bytes of a channel, valid only until this call returns (copy what you keep). Credit is returned by
   * `stream.consume(n)`, once the bytes have really been taken.
   */
  data?(channel: number, bytes: Uint8Array): void;
  event?(message: Json): void;
  /** The peer sends no more on this channel; `Channel.ALL`: on none. */
  fin?(channel: number): void;
  /** Exactly once: null after both sides said FIN ALL, otherwise why (refused, reset, link lost: `interrupted`). */
  closed?(error: ServiceError | null): void;
}

export interface MuxStream {
  readonly id: number;
  /** What the opener asked for. */
  readonly request: Json;
  /** The length of the request on the wire. */
  readonly requestBytes: number;
  /** Responder: accept, with an answer. */
  accept(answer?: Json): void;
  /** Responder: refuse. The stream is gone. */
  refuse(error: ServiceError): void;
  /**
   * Sends bytes of a channel. The bytes are copied: the caller may reuse them at once. Returns undefined when there is
   * room for more, otherwise a promise that resolves at low water, or when the stream closes (it never rejects).
   */
  write(channel: number, bytes: Uint8Array): Promise<void> | undefined;
  /** Sends a message within the stream, ahead of data queued on other streams but after this stream's own data. */
  event(message: Json): void;
  /** A message that may overtake this stream's own queued data: signals, resizes. */
  urgent(message: Json): void;
  /** No more data on this channel, after what is queued. */
  fin(channel: number): void;
  /**
   * FIN ALL, after what is queued. As the opener's last frame, when the peer has ended, it need not be sent at once.
   */
  end(): void;
  /** Ends both directions at once; what is queued is dropped. */
  reset(error: ServiceError): void;
  /** Returns credit to the peer for bytes taken. */
  consume(bytes: number): void;
  readonly closed: boolean;
  /** Bytes of messages waiting for the transport, over all streams of the link. Absent: there is no link. */
  readonly backlog?: number;
  /** As of the link; see `Mux`. Absent: there is no link. */
  readonly crowded?: boolean;
  room?(): Promise<void>;
}

export interface MuxOptions {
  transport: Transport;
  /** Stream ids are odd for the side that dialled, even for the other. */
  role: 'dialler' | 'listener';
  /** Our first frame. */
  hello: Json;
  /** The peer's HELLO, checked here: a throw closes the link with that error. */
  onHello(hello: Json): void;
  /** A stream that the peer opened. Returns the handler of its frames. A throw refuses it. */
  onOpen?(stream: MuxStream): StreamHandler;
  /** The peer takes no new streams. */
  onGoaway?(): void;
  /** The link is gone; every stream has been closed before this. Null: we closed it. */
  onClose?(error: ServiceError | null): void;
  /**
   * A callback of the owner, this object's or a stream handler's, threw where it could not be reported to anybody else.
   */
  onFailure?(error: unknown): void;
  /** Interval between heartbeats; 0: none, and the link is never found dead. */
  pingIntervalMs?: number;
  /** The link is dead when nothing has arrived for this long. */
  deadAfterMs?: number;
  /** The link is dead when a heartbeat is unanswered for this long, whatever else arrives. Default: not judged. */
  answerWithinMs?: number;
  /** How long the last frame of a stream may wait for others to be sent with; 0: it is sent like any other. */
  lazyMs?: number;
  /** Most streams the peer may have open. */
  maxStreams?: number;
}

export interface Mux {
  /**
   * @throws ServiceError `node_unavailable` when the link is closed, `draining` after the peer's GOAWAY, `rate_limited`
   * when 64 MiB of messages wait.
   */
  open(request: Json, handler: StreamHandler): MuxStream;
  /** So many messages wait for the transport that whoever can should wait with a large one. */
  readonly crowded: boolean;
  /** Resolves when that is over, or the link is closed. Others wait too: look again before sending. */
  room(): Promise<void>;
  /** Tells the peer to open no more streams; open ones continue. */
  goaway(): void;
  /** Closes the link and all its streams. */
  close(error?: ServiceError): void;
  /** Round-trip time in milliseconds. Rejects when the link closes. */
  ping(): Promise<number>;
  readonly closed: boolean;
  /** `lateHeartbeats`: heartbeats whose answer took longer than the interval. */
  readonly stats: { bytesIn: number; bytesOut: number; streams: number; lateHeartbeats: number };
}
