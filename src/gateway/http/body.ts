import type { Readable } from 'node:stream';
import type { FastifyRequest } from 'fastify';
import { ServiceError } from '../../protocol/errors.ts';

/**
 * The bytes of a body that was not read yet. When whoever takes them stops early, the rest is read all the same and
 * dropped: the next request of the connection comes behind it.
 */
export async function* bodyOf({ body }: Pick<FastifyRequest, 'body'>): AsyncGenerator<Buffer> {
  // An empty body is not handed on as a stream.
  if (body === undefined || body === null) return;
  const bytes = body as Readable;
  try {
    // Not `yield*`: an error thrown in here would reach the iterator, which destroys the body for it.
    for await (const chunk of bytes.iterator({ destroyOnReturn: false })) yield chunk as Buffer;
  } catch (cause) {
    throw bytes.destroyed ? new ServiceError('cancelled', 'The client broke off the request body.', { cause }) : cause;
  } finally {
    bytes.resume();
  }
}
