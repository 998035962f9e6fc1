/** The REST client: JSON and raw bytes over pooled connections, with deadlines and retries. */
import { Readable } from 'node:stream';
import type { Agent, Dispatcher, request as Request } from 'undici';
import type { Json } from '../mux/index.ts';
import { jitteredBackoffMs } from '../lib/backoff.ts';
import { asError, Linked, orAbort, sleep } from '../lib/deadline.ts';
import { ServiceError } from '../protocol/errors.ts';
import { encodeName } from '../protocol/names.ts';
import { MAX_ANSWER_BYTES, parsed, readError, readBody } from './answer-body.ts';
import type { CallStreams } from './call-streams.ts';
import { doubtAddress, type ClientConfig } from './config.ts';
import type { Endpoints } from './endpoints.ts';
import { Outage, isUnconnected, patienceOf, unreachable } from './outage.ts';
import type { Source } from './source.ts';

export interface CallOptions {
  signal?: AbortSignal | undefined;
  /** For the whole call with its retries. */
  deadlineMs?: number | undefined;
}

/** A name may occur more than once. */
export type Query = readonly (readonly [string, string | number | undefined])[];

export interface Call extends CallOptions {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  path: string;
  query?: Query | undefined;
  body?: unknown;
  /** The same call as a stream, where there is one to the gateway. */
  open?: Json | undefined;
  /** Instead of JSON. */
  raw?: { type: string; body(): Readable; length: Record<string, string> };
  headers?: Record<string, string>;
  /** Whether to retry when it is unknown whether the call arrived. Default: all but POST. */
  idempotent?: boolean;
  /** How long to obey answers that say when to retry. Default: for a few tries. */
  patienceMs?: number;
  /** Called in each try that has a JSON body, once that is being sent. */
  sent?(): void;
  /** Called for each failure, whether or not the call is retried. */
  failed?(failure: ServiceError): void;
}

interface Upload {
  path: string;
  query?: Query;
  source: Source;
  size?: number | undefined;
  /** Whether bytes at hand may be sent again when it is unknown whether they arrived. */
  idempotent: boolean;
  signal?: AbortSignal | undefined;
}

export const DEFAULT_DEADLINE_MS = 60_000;
const MAX_CONNECTIONS = 256;
/** For failures that are not an outage. */
const MAX_TRIES = 8;
/** Other gateways tried within one call without a pause between. */
const MAX_MOVES = 64;
const BACKOFF = { firstMs: 50, maxMs: 2_000 };

export interface HttpConfig extends Omit<ClientConfig, 'urls'> {
  endpoints: Endpoints;
  /** As for a `Connection`. */
  patienceMs?: number | undefined;
  /** A larger answer is not kept in memory. */
  maxAnswerBytes?: number | undefined;
  /** For calls that can be made as streams. */
  streams?: CallStreams | undefined;
}

export class HttpClient {
  readonly #config: HttpConfig;
  readonly #closing = new AbortController();
  #transport: Promise<Transport> | null = null;

  constructor(config: HttpConfig) {
    this.#config = config;
  }

  /**
   * The parsed answer.
   * @throws ServiceError with the service's code; `node_unavailable` when nobody answers; `protocol_error` for an
   *   answer that is too large to be this service's, or not JSON.
   */
  async json(call: Call): Promise<unknown> {
    return await this.#tried(
      call,
      async (base, signal) =>
        (await this.#overStream(base, call, signal)) ?? (await this.#once(base, call, this.#readJson, signal)),
    );
  }

  /** The answer's bytes. @throws as `json`. */
  async bytes(call: Call): Promise<Buffer> {
    const read = (response: Dispatcher.ResponseData): Promise<Buffer> => readBody(response, this.#maxBytes);
    return await this.#tried(call, (base, signal) => this.#once(base, call, read, signal));
  }

  /** The answer's body as it arrives. The deadline covers the head only. @throws as `json` */
  async stream(call: Call): Promise<{ bytes: AsyncIterable<Buffer>; stop(): void }> {
    const read = (response: Dispatcher.ResponseData): Promise<Readable> => Promise.resolve(response.body);
    const body = await this.#tried(call, (base, signal) => this.#once(base, call, read, signal));
    const stop = (): void => void body.destroy();
    // A body that is given up, or broken off, fails whoever reads it and nobody else.
    body.on('error', () => undefined);
    call.signal?.addEventListener('abort', stop, { once: true });
    body.once('close', () => call.signal?.removeEventListener('abort', stop));
    return { bytes: body, stop };
  }

  /** PUTs bytes as fast as they are accepted. A source that has been read from is not sent again. @throws as `json` */
  async upload({ source, size, signal, ...call }: Upload): Promise<unknown> {
    const length = size === undefined ? {} : { 'content-length': String(size) };
    const raw = { type: 'application/octet-stream', body: () => readableOf(source), length };
    const base = this.#config.endpoints.current;
    const put = { method: 'PUT', ...call, raw } as const;
    const attempt = (at: string, within: AbortSignal): Promise<unknown> => this.#once(at, put, this.#readJson, within);
    if (source instanceof Uint8Array) return await this.#tried({ ...put, signal, deadlineMs: Infinity }, attempt);
    using linked = new Linked({ signal });
    try {
      return await attempt(base, linked.signal);
    } catch (error) {
      this.#checkOpen();
      if (linked.signal.aborted) throw asError(linked.signal.reason);
      if (error instanceof ServiceError) throw error;
      throw new ServiceError('interrupted', 'the upload broke off', { cause: error });
    }
  }

  get #maxBytes(): number {
    return this.#config.maxAnswerBytes ?? MAX_ANSWER_BYTES;
  }

  readonly #readJson = async (response: Dispatcher.ResponseData): Promise<unknown> =>
    parsed((await readBody(response, this.#maxBytes)).toString());

  async #tried<T>(call: Call, attempt: (base: string, signal: AbortSignal) => Promise<T>): Promise<T> {
    using linked = new Linked({
      signal: call.signal,
      deadlineMs: call.deadlineMs ?? DEFAULT_DEADLINE_MS,
      what: `${call.method} ${call.path}`,
    });
    const { endpoints } = this.#config;
    // A call may be long under way when the service is lost, and the service not ready for it when it is back.
    let outage: Outage | null = null;
    const startedAt = performance.now();
    for (let tries = 1, failures = 0, moves = 0; ; tries++) {
      const base = endpoints.current;
      try {
        return await attempt(base, linked.signal);
      } catch (error) {
        this.#checkOpen();
        if (linked.signal.aborted) throw asError(linked.signal.reason);
        const failure = error instanceof ServiceError ? error : unreachable(error, base);
        call.failed?.(failure);
        if (isUnconnected(error)) outage ??= new Outage(patienceOf(this.#config.patienceMs), endpoints);
        else [outage, failures] = [null, failures + 1];
        const elsewhere = isGone(failure, error) && endpoints.failed(base);
        if (!mayRetry(call, failure, error)) throw failure;
        if (elsewhere && moves++ < MAX_MOVES) continue;
        const { retryAfterMs } = failure;
        const pause = retryAfterMs === undefined ? pauseMs(tries) : apart(retryAfterMs);
        const { patienceMs } = call;
        if (outage !== null) {
          if (!outage.outlasts(pause, error, base)) throw failure;
        } else if (retryAfterMs !== undefined && patienceMs !== undefined) {
          if (performance.now() + pause > startedAt + patienceMs) throw failure;
        } else if (failures >= MAX_TRIES) throw failure;
        await this.#pause(pause, linked.signal);
      }
    }
  }

  /** Ends all calls, present and future, with `cancelled`. */
  async close(): Promise<void> {
    this.#closing.abort(new ServiceError('cancelled', 'the client was closed'));
    await (await this.#transport)?.agent.destroy();
  }

  /** Until then, or until the call or the client is over. */
  async #pause(ms: number, signal: AbortSignal): Promise<void> {
    const over = new AbortController();
    try {
      await orAbort(signal, orAbort(this.#closing.signal, sleep(ms, over.signal)));
    } finally {
      over.abort();
    }
  }

  #checkOpen(): void {
    const { aborted, reason } = this.#closing.signal;
    if (aborted) throw asError(reason);
  }

  get headers(): Record<string, string> {
    const { apiKey, userAgent } = this.#config;
    return { 'user-agent': userAgent, ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }) };
  }

  /** Null: not possible now. */
  async #overStream(base: string, { open, sent }: Call, signal: AbortSignal): Promise<Json | null> {
    this.#checkOpen();
    const { streams } = this.#config;
    if (open === undefined || streams === undefined) return null;
    return await streams.call(base, open, signal, () => sent?.());
  }

  async #once<T>(
    base: string,
    call: Call,
    read: (response: Dispatcher.ResponseData) => Promise<T>,
    signal: AbortSignal,
  ): Promise<T> {
    this.#checkOpen();
    const url = new URL(base + call.path);
    url.search = searchOf(call.query ?? []);
    const { request, agent } = await (this.#transport ??= loadTransport());
    const json = call.body === undefined ? null : Buffer.from(JSON.stringify(call.body));
    const response = await request(url, {
      dispatcher: agent,
      method: call.method,
      signal,
      headers: {
        ...this.headers,
        ...(json === null ? {} : { 'content-type': 'application/json', 'content-length': String(json.length) }),
        ...(call.raw === undefined ? {} : { 'content-type': call.raw.type, ...call.raw.length }),
        ...call.headers,
      },
      body: call.raw?.body() ?? (json === null || call.sent === undefined ? json : telling(json, call.sent)),
    });
    this.#config.endpoints.answered = true;
    if (response.statusCode >= 400) throw doubtAddress(refusal(response, await readError(response)), base);
    return await read(response);
  }
}

interface Transport {
  agent: Agent;
  request: typeof Request;
}

/** Loaded at the first call: it takes longer to load than the rest of the SDK, and commands alone never need it. */
async function loadTransport(): Promise<Transport> {
  const { Agent, request } = await import('undici');
  // Long answers are normal here (`waitMs`): the deadline of each call is its own.
  const agent = new Agent({
    connections: MAX_CONNECTIONS,
    headersTimeout: 0,
    bodyTimeout: 0,
    connectTimeout: 10_000,
  });
  return { agent, request };
}

function searchOf(query: Query): string {
  const given = query.filter(([, value]) => value !== undefined);
  return given.map(([key, value]) => `${key}=${encodeName(String(value))}`).join('&');
}

/** Nobody reads it before there is a connection. */
function telling(bytes: Buffer, read: () => void): Readable {
  return new Readable({
    read() {
      read();
      this.push(bytes);
      this.push(null);
    },
  });
}

function readableOf(source: Source): Readable {
  return source instanceof Uint8Array ? Readable.from([source]) : Readable.from(source, { objectMode: false });
}

/** The error in an answer. An answer that is not from this service is classified by its status. */
export function refusal(
  response: { statusCode: number; headers?: Dispatcher.ResponseData['headers'] },
  body: unknown,
): ServiceError {
  const error = typeof body === 'object' && body !== null ? (body as { error?: unknown }).error : undefined;
  if (typeof error === 'object' && error !== null) return ServiceError.fromWire(error);
  const { statusCode } = response;
  const message = `the server answered ${statusCode}`;
  if (statusCode === 401) return new ServiceError('unauthenticated', message);
  if (statusCode === 403) return new ServiceError('forbidden', message);
  if (statusCode === 404) return new ServiceError('not_found', message);
  if (statusCode === 413) return new ServiceError('body_too_large', message);
  if (statusCode === 429) return new ServiceError('rate_limited', message, { retryAfterMs: retryAfterMs(response) });
  if (statusCode === 502 || statusCode === 503 || statusCode === 504)
    return new ServiceError('node_unavailable', message);
  return new ServiceError(statusCode < 500 ? 'invalid_request' : 'internal', message);
}

function retryAfterMs(response: { headers?: Dispatcher.ResponseData['headers'] }): number | undefined {
  const seconds = Number(response.headers?.['retry-after']);
  return Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : undefined;
}

/** The gateway is not there, accepts no more work, or cannot reach a node: another gateway may work. */
function isGone(failure: ServiceError, thrown: unknown): boolean {
  return !(thrown instanceof ServiceError) || failure.code === 'draining' || failure.code === 'node_unavailable';
}

/**
 * A call that never got a connection did nothing. One whose connection broke may have: only idempotent calls are
 * retried.
 */
function mayRetry(call: Call, failure: ServiceError, thrown: unknown): boolean {
  const answered = thrown instanceof ServiceError;
  if (answered) return failure.retryable;
  if (isUnconnected(thrown)) return true;
  return call.idempotent ?? call.method !== 'POST';
}

/** With jitter: many clients may have lost the same server. */
export const pauseMs = (tries: number): number => jitteredBackoffMs(BACKOFF, tries);

/** No sooner than that, and with jitter, since many clients may have been told the same. */
const apart = (ms: number): number => ms * (1 + Math.random() / 4);
