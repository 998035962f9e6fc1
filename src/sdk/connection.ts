/** The client's one WebSocket: dialled when first needed, shared by all streams, redialled when it is lost. */
import { asError, orAbort, resolvesWithin, sleep } from '../lib/deadline.ts';
import { CLIENT_GENERATION, CLIENT_PATH, CLIENT_SUBPROTOCOL, type GatewayHello } from '../protocol/client.ts';
import { ServiceError } from '../protocol/errors.ts';
import {
  UpgradeRefused,
  createMux,
  dialWs,
  type Json,
  type Mux,
  type MuxStream,
  type StreamHandler,
  type Transport,
} from '../mux/index.ts';
import { doubtAddress } from './config.ts';
import type { Endpoints } from './endpoints.ts';
import { pauseMs, refusal } from './http.ts';
import { Outage, isLoopback, patienceOf, unreachable } from './outage.ts';

const DIAL_DEADLINE_MS = 10_000;
/** How long a call that can also be made over HTTP waits for a link, and how long after a failure it asks for none. */
const CALLS_WAIT_MS = 2_000;
const CALLS_REST_MS = 30_000;

/** Opens a transport to the gateway at this URL. Tests pass their own. */
export type Dial = (signal: AbortSignal, url: string) => Promise<Transport>;

export interface ConnectionOptions {
  dial: Dial;
  endpoints: Endpoints;
  /** How long to retry a gateway that cannot be reached. Default: less for one that has never answered. */
  patienceMs?: number | undefined;
}

/** Dial failures after which another gateway may still work. */
const GATEWAY_GONE: ReadonlySet<string> = new Set(['node_unavailable', 'draining', 'deadline_exceeded']);

/** WebSockets to the gateway are blocked; plain HTTP may work. */
export class NoWebSocket extends ServiceError {
  override readonly name = 'NoWebSocket';
}

export function webSocketDial(headers: Record<string, string>): Dial {
  return (signal, url) =>
    dialWs(`${url.replace(/^http/, 'ws')}${CLIENT_PATH}`, {
      subprotocol: CLIENT_SUBPROTOCOL,
      headers,
      deadlineMs: DIAL_DEADLINE_MS,
      signal,
      // Masks protect plain-text proxies, which a tunnel or loopback does not have.
      maskWithZeros: isPrivatePath(url),
    });
}

function isPrivatePath(url: string): boolean {
  return new URL(url).protocol === 'https:' || isLoopback(url);
}

/** A stream to open. */
export interface StreamCall {
  /** Called when the stream opens, which may be after a wait. */
  request(): Json;
  handler: StreamHandler;
  /** Called before any callback of the handler. */
  begun(stream: MuxStream): void;
}

interface Link {
  url: string;
  mux: Mux;
  transport: Transport;
  /** No more streams are opened on it. */
  draining: boolean;
  /** Resolves with the gateway's HELLO; to null if the link ends before that. */
  greeted: Promise<Partial<GatewayHello> | null>;
  /** Its HELLO, once it has arrived. */
  hello: Partial<GatewayHello> | null;
}

/** A dial in progress. */
interface Attempt {
  url: string;
  abort: AbortController;
  link: Promise<Link>;
}

export class Connection {
  readonly #options: ConnectionOptions;
  readonly #closing = new AbortController();
  #link: Link | null = null;
  #dialling: Promise<Link> | null = null;
  #attempt: Attempt | null = null;
  /** When calls may next try to get a link to a gateway. */
  readonly #callsRestUntil = new Map<string, number>();

  constructor(options: ConnectionOptions) {
    this.#options = options;
  }

  /**
   * Whether there is a link to this gateway on which creates and deletes can be opened. Dials it if there is none, but
   * waits only a moment, and not again soon after a failure: such calls can also be made over HTTP. Never rejects.
   */
  async takesCalls(url: string): Promise<boolean> {
    if (!this.#isGreetedBy(url)) {
      const now = performance.now();
      if (this.#closing.signal.aborted || now < (this.#callsRestUntil.get(url) ?? 0)) return false;
      // Calls have moved to another gateway, and commands go with them.
      if (this.#link !== null && this.#link.url !== url) this.#drain(this.#link);
      const greeted = this.#attemptAt(url).then((link) => link.greeted);
      await resolvesWithin(greeted, CALLS_WAIT_MS).catch(() => undefined);
      if (!this.#isGreetedBy(url)) this.#giveUpCalls(url, now);
    }
    return this.#isGreetedBy(url) && this.#link?.hello?.calls === true;
  }

  /** Opens a stream at once if the link is up and has room, so that an exec awaits nothing. @returns whether it did. */
  tryOpen(call: StreamCall): boolean {
    const link = this.#link;
    if (link === null || link.draining || link.mux.closed || link.mux.crowded) return false;
    if (link.mux.stats.streams === 0) link.transport.ref?.(true);
    const stream = link.mux.open(call.request(), {
      ...call.handler,
      closed: (error) => {
        if (error?.code === 'node_unavailable') this.#leave(link);
        if (link.mux.stats.streams === 0) this.#idle(link);
        call.handler.closed?.(error);
      },
    });
    call.begun(stream);
    return true;
  }

  /**
   * Opens a stream, dialling first if necessary.
   * @throws NoWebSocket, or ServiceError `unauthenticated`, `node_unavailable` after `patienceMs`, `cancelled`.
   */
  async open(call: StreamCall, signal?: AbortSignal): Promise<void> {
    for (;;) {
      if (signal?.aborted) throw asError(signal.reason);
      if (this.tryOpen(call)) return;
      const link = await orAbort(signal, this.#ready());
      if (link.mux.crowded) await orAbort(signal, link.mux.room());
    }
  }

  /** Ends the link and everything on it. */
  close(): void {
    const reason = new ServiceError('cancelled', 'the client was closed');
    this.#closing.abort(reason);
    this.#attempt?.abort.abort(reason);
    this.#link?.mux.close();
  }

  #isGreetedBy(url: string): boolean {
    return this.#link?.url === url && this.#link.hello !== null;
  }

  #giveUpCalls(url: string, nowMs: number): void {
    this.#callsRestUntil.set(url, nowMs + CALLS_REST_MS);
    // A dial that nothing else waits for would keep the process alive.
    if (this.#attempt?.url === url && this.#dialling === null)
      this.#attempt.abort.abort(new ServiceError('deadline_exceeded'));
  }

  /** This gateway cannot reach a node. If another one may, new streams go there. */
  #leave(link: Link): void {
    if (!link.draining && !link.mux.closed && this.#options.endpoints.failed(link.url)) this.#drain(link);
  }

  #drain(link: Link): void {
    link.draining = true;
    if (this.#link === link) this.#link = null;
    if (link.mux.stats.streams === 0) link.mux.close();
  }

  /** An idle link does not keep the process alive; a draining one is closed. */
  #idle(link: Link): void {
    link.transport.ref?.(false);
    if (link.draining) link.mux.close();
  }

  #ready(): Promise<Link> {
    this.#dialling ??= this.#dial().finally(() => (this.#dialling = null));
    return this.#dialling;
  }

  async #dial(): Promise<Link> {
    const { endpoints, patienceMs } = this.#options;
    const signal = this.#closing.signal;
    const outage = new Outage(patienceOf(patienceMs), endpoints);
    for (let tries = 1; ;) {
      const url = endpoints.current;
      try {
        if (signal.aborted) throw asError(signal.reason);
        return await this.#attemptAt(url);
      } catch (error) {
        if (signal.aborted) throw asError(signal.reason);
        if (error instanceof UpgradeRefused) endpoints.answered = true;
        const failure = explain(error, url);
        const mayPass = failure.retryable || GATEWAY_GONE.has(failure.code);
        if (!mayPass || !outage.outlasts(0, error, url)) throw failure;
        if (GATEWAY_GONE.has(failure.code) && endpoints.failed(url)) continue;
        const pause = failure.retryAfterMs ?? pauseMs(tries);
        if (!outage.outlasts(pause, error, url)) throw failure;
        await sleep(pause, signal);
        tries += 1;
      }
    }
  }

  /** Dials once, or waits for the dial in progress: there is one link at most. */
  async #attemptAt(url: string): Promise<Link> {
    while (this.#attempt !== null && this.#attempt.url !== url) await this.#attempt.link.catch(() => undefined);
    if (this.#link !== null && !this.#link.mux.closed) return this.#link;
    const abort = new AbortController();
    this.#attempt ??= { url, abort, link: this.#dialOnce(url, abort.signal).finally(() => (this.#attempt = null)) };
    return await this.#attempt.link;
  }

  async #dialOnce(url: string, signal: AbortSignal): Promise<Link> {
    const { dial, endpoints } = this.#options;
    const transport = await dial(signal, url);
    endpoints.answered = true;
    return this.#start(transport, url);
  }

  #start(transport: Transport, url: string): Link {
    const { endpoints } = this.#options;
    const greeted = Promise.withResolvers<Partial<GatewayHello> | null>();
    const mux = createMux({
      transport,
      role: 'dialler',
      hello: { generation: CLIENT_GENERATION },
      onHello: (hello) => {
        if (hello['generation'] !== CLIENT_GENERATION) {
          throw new ServiceError('not_supported', 'the gateway speaks another generation of the protocol');
        }
        link.hello = hello;
        greeted.resolve(hello);
      },
      onGoaway: () => {
        endpoints.failed(url);
        this.#drain(link);
      },
      onClose: (error) => {
        greeted.resolve(null);
        // Lost, not closed by us: the next gateway is tried first.
        if (error !== null && !link.draining) endpoints.failed(url);
        if (this.#link === link) this.#link = null;
      },
    });
    const link: Link = { url, mux, transport, draining: false, greeted: greeted.promise, hello: null };
    this.#link = link;
    this.#idle(link);
    return link;
  }
}

/** Turns a dial failure into an error that tells the caller what to do. */
function explain(error: unknown, url: string): ServiceError {
  if (error instanceof ServiceError) return error;
  if (error instanceof UpgradeRefused) return explainRefusal(error, url);
  return unreachable(error, url);
}

function explainRefusal({ status, body, message }: UpgradeRefused, url: string): ServiceError {
  const parsed = parse(body);
  const typed = refusal({ statusCode: status }, parsed);
  // The error is the gateway's own: HTTP would get the same.
  if (typed.code === 'not_found' && typeof parsed?.error === 'object') return doubtAddress(typed, url);
  if (typed.retryable || GATEWAY_GONE.has(typed.code) || typed.code === 'unauthenticated' || typed.code === 'forbidden')
    return typed;
  return new NoWebSocket('not_supported', message);
}

function parse(text: string): { error?: unknown } | null | undefined {
  try {
    return JSON.parse(text) as { error?: unknown } | null;
  } catch {
    return undefined;
  }
}
