/**
 * Joins a client's stream to a node's. Bytes are credited to their sender only once the other side has taken them, so
 * that a slow reader at one end stops the writer at the other. Only events are parsed, and nothing is kept: after a cut
 * the client attaches again. A client's events go through the control lane of a link that all clients share, so only
 * what a node understands is passed on.
 */
import {
  DeferredCredit,
  EarlyInput,
  type EarlyReceiver,
  type Json,
  type MuxStream,
  type StreamHandler,
} from '../../mux/index.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { readExecCommand } from '../../protocol/exec-command.ts';
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
  #toNode: EarlyReceiver | null = null;
  /** What the client sent before the node's stream was open. Null: nothing needs to wait any more. */
  #early: EarlyInput | null = new EarlyInput();
  readonly #clientCredit: DeferredCredit;
  readonly #nodeCredit: DeferredCredit;
  #over = false;

  constructor(client: MuxStream, upstream: Upstream, observer: RelayObserver) {
    this.#client = client;
    this.#observer = observer;
    this.#clientCredit = new DeferredCredit((bytes) => client.consume(bytes));
    this.#nodeCredit = new DeferredCredit((bytes) => this.#node?.consume(bytes));
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
      if (this.#toNode !== null) this.#toNode.data(channel, bytes);
      else this.#keep((early) => early.data(channel, bytes));
    },
    event: (message) => {
      const command = readExecCommand(message);
      if (command === undefined) return;
      if (this.#toNode !== null) this.#toNode.command(command);
      else this.#keep((early) => early.command(command));
    },
    fin: (channel) => {
      if (this.#toNode !== null) this.#toNode.fin(channel);
      else this.#keep((early) => early.fin(channel));
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
      const { length } = bytes;
      this.#nodeCredit.when(this.#client.write(channel, bytes), length);
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
    this.#toNode = {
      data: (channel, bytes) => {
        const { length } = bytes;
        this.#clientCredit.when(node.write(channel, bytes), length);
      },
      // Signals, kills and resizes must not wait behind stdin.
      command: (command) => node.urgent(command),
      fin: (channel) => finish(node, channel),
    };
    const early = this.#early;
    this.#early = null;
    early?.passTo(this.#toNode);
  }

  #keep(put: (early: EarlyInput) => boolean): void {
    if (this.#early === null || put(this.#early)) return;
    this.#failed(new ServiceError('rate_limited', 'too much was sent before the sandbox had a node'));
  }

  /** A refusal becomes a reset once the stream was accepted. */
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
