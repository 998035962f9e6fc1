/**
 * Calls as streams of the client's WebSocket, for those that come in hundreds: over HTTP each of them takes a connection,
 * or waits for one.
 */
import { asError, orAbort } from '../lib/deadline.ts';
import type { Json, MuxStream } from '../mux/index.ts';
import { ServiceError } from '../protocol/errors.ts';
import type { Connection } from './connection.ts';

/** Of requests without an answer. What is more would delay commands on the link, and in the end overflow its queue. */
const MAX_UNANSWERED_BYTES = 8 * 1024 * 1024;

export interface CallStreams {
  /**
   * The answer of OPENED, or null if the call cannot be made in this way now.
   * @param sent called once it is on its way
   * @throws ServiceError with which the gateway refused it, the signal's reason, or `Cut`
   */
  call(url: string, request: Json, signal: AbortSignal, sent: () => void): Promise<Json | null>;
}

/** The link broke, or the gateway lost its own: it is unknown whether the call arrived. */
class Cut extends Error {
  override readonly name = 'Cut';
}

export function callStreams(connection: Connection): CallStreams {
  let unanswered = 0;
  return {
    call: async (url, request, signal, sent) => {
      const takesCalls = await orAbort(signal, connection.takesCalls(url));
      // It may have been aborted after that was known, and such a signal tells no new listener.
      if (signal.aborted) throw asError(signal.reason);
      if (!takesCalls) return null;
      const bytes = JSON.stringify(request).length;
      if (unanswered + bytes > MAX_UNANSWERED_BYTES) return null;
      const answer = callOver(connection, request, signal);
      if (answer === null) return null;
      sent();
      unanswered += bytes;
      try {
        return await answer;
      } finally {
        unanswered -= bytes;
      }
    },
  };
}

function callOver(connection: Connection, request: Json, signal: AbortSignal): Promise<Json> | null {
  const { promise, resolve, reject } = Promise.withResolvers<Json>();
  let stream: MuxStream | undefined;
  const onAbort = (): void => {
    reject(asError(signal.reason));
    stream?.reset(new ServiceError('cancelled'));
  };
  const handler = {
    opened: resolve,
    closed: (error: ServiceError | null) => {
      signal.removeEventListener('abort', onAbort);
      if (error === null || error.code === 'interrupted') reject(new Cut(error?.message, { cause: error }));
      else reject(error);
    },
  };
  const begun = (it: MuxStream): void => {
    stream = it;
    stream.end();
  };
  try {
    if (!connection.tryOpen({ request: () => request, handler, begun })) return null;
  } catch {
    // It is larger than a frame, or the gateway is going away.
    return null;
  }
  signal.addEventListener('abort', onAbort, { once: true });
  return promise;
}
