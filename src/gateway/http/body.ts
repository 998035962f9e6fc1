import type { Readable } from 'node:stream';
import type { FastifyRequest } from 'fastify';
import { ServiceError } from '../../protocol/errors.ts';

/**
 * The bytes of an unread body. When the consumer stops early, the rest is read and dropped, because the next request on
 * the connection follows it.
 */
export async function* bodyOf({ body }: Pick<FastifyRequest, 'body'>): AsyncGenerator<Buffer> {
  // Fastify passes no stream for an empty body.
  if (body === undefined || body === null) return;
  const bytes = body as Readable;
  try {
    // Not `yield*`: it would pass a consumer's error to the iterator, which would destroy the body.
    for await (const chunk of bytes.iterator({ destroyOnReturn: false })) yield chunk as Buffer;
  } catch (cause) {
    throw bytes.destroyed ? new ServiceError('cancelled', 'the client broke off the request body', { cause }) : cause;
  } finally {
    bytes.resume();
  }
}
