/**
 * Joins a client's stream to a node's. Bytes are credited to their sender only when the other side has taken them, so
 * that a slow reader at one end stops the writer at the other. Only events are parsed, and nothing is kept: after a cut
 * the client attaches again.
 */
import type { Json, MuxStream, StreamHandler } from '../../mux/index.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { Channel } from '../../protocol/frames.ts';

export interface RelayObserver {
  opened?(answer: Json): Json;
  event?(message: Json): void;
  closed?(error: ServiceError | null): void;
}

/** Where the node's stream is opened. */
export type Upstream =
  | { now: (handler: StreamHandler) => MuxStream }
  /** The node is not known yet. The signal fires when the client has gone. */
  | { later: (handler: StreamHandler, signal: AbortSignal) => Promise<MuxStream> };

/** Events that may wait for the node's stream; waiting bytes are bounded by the stream's credit. */
const MAX_EARLY_EVENTS = 64;

/** The handler of the client's stream. */
export function relay(client: MuxStream, upstream: Upstream, observer: RelayObserver = {}): StreamHandler {
  return new Relay(client, upstream, observer).clientHandler;
}

class Relay {
  readonly #client: MuxStream;
  readonly #observer: RelayObserver;
  /** Set while the node's stream is being opened. */
  #opening: AbortController | null = null;
  #node: MuxStream | null = null;
  /** What the client has sent before the node's stream is open. Null: nothing needs to wait any more. */
  #early: ((node: MuxStream) => void)[] | null = [];
  #earlyEvents = 0;
  #over = false;

  constructor(client: MuxStream, upstream: Upstream, observer: RelayObserver) {
    this.#client = client;
    this.#observer = observer;
    // A throw refuses the client's stream.
    if ('now' in upstream) this.#begin(upstream.now(this.#nodeHandler));
    else {
      this.#opening = new AbortController();
      upstream.later(this.#nodeHandler, this.#opening.signal).then(
        (node) => this.#begin(node),
        (error: unknown) => this.#failed(ServiceError.from(error)),
      );
    }
  }

  readonly clientHandler: StreamHandler = {
    data: (channel, bytes) => {
      if (this.#node !== null) this.#toNode(this.#node, channel, bytes);
      else {
        const copy = Buffer.from(bytes);
        this.#early?.push((node) => this.#toNode(node, channel, copy));
      }
    },
    event: (message) => {
      // Signals, kills and resizes must not wait behind stdin.
      if (this.#node !== null) this.#node.urgent(message);
      else if (++this.#earlyEvents > MAX_EARLY_EVENTS) this.#failed(new ServiceError('rate_limited'));
      else this.#early?.push((node) => node.urgent(message));
    },
    fin: (channel) => {
      if (this.#node !== null) finish(this.#node, channel);
      else this.#early?.push((node) => finish(node, channel));
    },
    closed: (error) => {
      this.#opening?.abort(error ?? new ServiceError('cancelled'));
      if (error !== null) this.#node?.reset(error);
      this.#end(error);
    },
  };

  readonly #nodeHandler: StreamHandler = {
    opened: (answer) => this.#client.accept(this.#observer.opened?.(answer) ?? answer),
    data: (channel, bytes) => {
      const node = this.#node;
      const { length } = bytes;
      const drained = this.#client.write(channel, bytes);
      if (drained === undefined) node?.consume(length);
      else void drained.then(() => node?.consume(length));
    },
    event: (message) => {
      this.#observer.event?.(message);
      this.#client.event(message);
    },
    fin: (channel) => finish(this.#client, channel),
    closed: (error) => {
      if (error !== null) this.#failed(error);
      else this.#end(null);
    },
  };

  #begin(node: MuxStream): void {
    this.#opening = null;
    if (this.#client.closed) return node.reset(new ServiceError('cancelled'));
    this.#node = node;
    const early = this.#early ?? [];
    this.#early = null;
    for (const send of early) send(node);
  }

  #toNode(node: MuxStream, channel: number, bytes: Uint8Array): void {
    const { length } = bytes;
    const drained = node.write(channel, bytes);
    if (drained === undefined) this.#client.consume(length);
    else void drained.then(() => this.#client.consume(length));
  }

  /** `refuse` becomes a reset once the stream was accepted. */
  #failed(error: ServiceError): void {
    this.#client.refuse(error);
    this.#end(error);
  }

  #end(error: ServiceError | null): void {
    this.#early = null;
    if (this.#over) return;
    this.#over = true;
    this.#observer.closed?.(error);
  }
}

function finish(stream: MuxStream, channel: number): void {
  if (channel === Channel.ALL) stream.end();
  else stream.fin(channel);
}
