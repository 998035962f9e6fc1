/** Request-response calls, each on its own stream. */
import { asError, Linked, sleep } from '../lib/deadline.ts';
import { ServiceError } from '../protocol/errors.ts';
import { Channel } from '../protocol/frames.ts';
import type { Json, MuxStream, StreamHandler } from '../mux/index.ts';
import type { Connection } from './connection.ts';
import { DEFAULT_DEADLINE_MS, type CallOptions } from './http.ts';
import type { Source } from './source.ts';

export type Streams = Pick<Connection, 'open' | 'tryOpen'>;

/** How many times an idempotent call is attempted after a cut. */
const MAX_TRIES = 4;
/** Longer than a gateway that has just started waits for its nodes. */
const STARTUP_MS = 8_000;

/**
 * The answer of OPENED.
 * @param idempotent whether the call may be retried when a cut leaves it unknown whether it arrived
 * @throws ServiceError
 */
export async function ask(
  streams: Streams,
  request: Json,
  idempotent: boolean,
  options: CallOptions = {},
): Promise<Json> {
  using linked = new Linked({
    signal: options.signal,
    deadlineMs: options.deadlineMs ?? DEFAULT_DEADLINE_MS,
    what: String(request['call'] ?? request['op']),
  });
  const startup = new StartupRetry();
  for (let cuts = 0; ;) {
    try {
      return await askOnce(streams, request, linked.signal);
    } catch (error) {
      if (linked.signal.aborted) throw asError(linked.signal.reason);
      if (await startup.mayRetry(error, linked.signal)) continue;
      // A draining peer has refused it: nothing was done.
      const undone = error instanceof ServiceError && error.code === 'draining';
      if (!isCut(error) || !(idempotent || undone) || ++cuts >= MAX_TRIES) throw error;
    }
  }
}

/** The connection to the sandbox was lost, or its gateway is shutting down: the next attempt takes another route. */
export function isCut(error: unknown): boolean {
  return error instanceof ServiceError && (error.code === 'interrupted' || error.code === 'draining');
}

/**
 * Retries of one call: a gateway that has just started refuses calls to nodes that it is not connected to yet, and says
 * when to retry. Nothing was done then.
 */
export class StartupRetry {
  #until: number | undefined;

  /** Resolves when it is time to retry; to false if a retry would change nothing. @throws the signal's reason */
  async mayRetry(error: unknown, signal: AbortSignal | undefined): Promise<boolean> {
    if (!(error instanceof ServiceError) || error.code !== 'node_unavailable') return false;
    if (error.retryAfterMs === undefined) return false;
    const now = performance.now();
    this.#until ??= now + STARTUP_MS;
    if (now + error.retryAfterMs > this.#until) return false;
    await sleep(error.retryAfterMs, signal);
    return true;
  }
}

function askOnce(streams: Streams, request: Json, signal: AbortSignal): Promise<Json> {
  const done = Promise.withResolvers<Json>();
  const opened = openStream(streams, request, signal, {
    opened: (answer) => done.resolve(answer),
    data: () => undefined,
    closed: (error) => done.reject(error ?? new ServiceError('interrupted', 'the stream ended without an answer')),
  });
  opened.then((stream) => stream.end(), done.reject);
  return done.promise.finally(() => void opened.then((stream) => stream.closed || stream.end()).catch(() => undefined));
}

/** Like a `StreamHandler`, but a stream that the caller aborted ends with the caller's reason. */
type ClientHandler = Omit<StreamHandler, 'closed'> & { closed?(error: Error | null): void };

/**
 * A stream that is reset when the signal fires.
 * @throws ServiceError, or the signal's reason
 */
export async function openStream(
  streams: Streams,
  request: Json,
  signal: AbortSignal | undefined,
  handler: ClientHandler,
): Promise<MuxStream> {
  const begun = Promise.withResolvers<MuxStream>();
  let stream: MuxStream | null = null;
  const onAbort = (): void => stream?.reset(new ServiceError('cancelled'));
  await streams.open(
    {
      request: () => request,
      handler: {
        ...handler,
        closed: (error) => {
          signal?.removeEventListener('abort', onAbort);
          handler.closed?.(signal?.aborted ? asError(signal.reason) : error);
        },
      },
      begun: (it) => {
        stream = it;
        signal?.addEventListener('abort', onAbort, { once: true });
        begun.resolve(it);
      },
    },
    signal,
  );
  return await begun.promise;
}

const BLOCK_BYTES = 64 * 1024;

/** Sends everything of a source on channel BYTES, at the pace of the receiver. Returns early when the stream closes. */
export async function sendAll(stream: MuxStream, source: Source): Promise<void> {
  if (source instanceof Uint8Array) return await sendBlocks(stream, source);
  for await (const piece of source) {
    if (stream.closed) return;
    await sendBlocks(stream, piece);
  }
}

async function sendBlocks(stream: MuxStream, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length && !stream.closed; at += BLOCK_BYTES) {
    const drained = stream.write(Channel.BYTES, bytes.subarray(at, at + BLOCK_BYTES));
    if (drained !== undefined) await drained;
  }
}
