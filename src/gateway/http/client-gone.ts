/**
 * Notices that a client has gone. It may have done so before anybody listens, while its body was read or its call was
 * held, and then there is no further event.
 */
import type { FastifyReply } from 'fastify';
import { ServiceError } from '../../protocol/errors.ts';

/**
 * Calls back once: when the answer has been sent, or when the client went away before that (at once, if it already
 * has).
 */
export function onClosed({ raw }: FastifyReply, closed: (answered: boolean) => void): void {
  const notify = (): void => closed(raw.writableFinished);
  if (raw.destroyed) notify();
  else raw.once('close', notify);
}

/** Fires when the client has gone before it was answered. */
export function clientGone(reply: FastifyReply): AbortSignal {
  const gone = new AbortController();
  onClosed(reply, (answered) => {
    if (!answered) gone.abort(new ServiceError('cancelled'));
  });
  return gone.signal;
}
