/** What becomes of a body that is refused before all of it has come. */
import type { FastifyReply, FastifyRequest } from 'fastify';

/** Twice what a body may have, and more: a client that sends all before it reads gets to its answer. */
const MAX_BYTES = 128 * 1024 * 1024;
const MAX_MS = 30_000;

/**
 * Reads and drops the rest of a body that no parser takes any more. Fastify would close the connection behind such an
 * answer, and bytes that then still arrive reset it, with which the client can lose the answer unread. Beyond a bound
 * the connection does end.
 */
export function dropRestOfBody({ raw }: FastifyRequest, reply: FastifyReply): void {
  if (reply.statusCode < 400 || raw.complete || reply.getHeader('connection') !== 'close') return;
  reply.removeHeader('connection');
  let bytes = 0;
  const timer = setTimeout(() => raw.destroy(), MAX_MS).unref();
  raw.once('close', () => clearTimeout(timer));
  raw.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > MAX_BYTES) raw.destroy();
  });
  raw.on('error', () => undefined);
  raw.resume();
}
