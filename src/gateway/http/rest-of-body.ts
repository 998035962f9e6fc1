/** What becomes of a body that is answered before all of it has come. */
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';

/** Twice what a body may have, and more: a client that sends all before it reads gets to its answer. */
const MAX_BYTES = 128 * 1024 * 1024;
const MAX_MS = 30_000;
const LOOK_MS = 50;

const readings = new WeakMap<IncomingMessage, Promise<void>>();

/**
 * Reads and drops the rest of a body that nobody takes any more, and resolves once there is none. Beyond a bound it ends
 * the connection. Its bytes and its end are watched on the socket: a request that was answered hears of neither.
 */
function readRest(raw: IncomingMessage): Promise<void> {
  const known = readings.get(raw);
  if (known !== undefined) return known;
  const { promise, resolve } = Promise.withResolvers<void>();
  readings.set(raw, promise);
  const { socket } = raw;
  if (raw.destroyed || socket.destroyed) {
    resolve();
    return promise;
  }
  const mostBytes = socket.bytesRead + MAX_BYTES;
  const until = performance.now() + MAX_MS;
  const look = setInterval(() => {
    if (socket.bytesRead > mostBytes || performance.now() > until) socket.destroy();
  }, LOOK_MS).unref();
  const over = (): void => {
    clearInterval(look);
    socket.off('close', over);
    resolve();
  };
  raw.once('end', over).once('close', over);
  socket.once('close', over);
  raw.on('error', () => undefined);
  raw.resume();
  return promise;
}

/**
 * Bounds what is read of a body behind its answer. Fastify would close the connection behind one that no parser takes,
 * and bytes that then still arrive reset it, with which the client can lose the answer unread.
 */
export function dropRestOfBody({ raw }: FastifyRequest, reply: FastifyReply): void {
  if (raw.complete) return;
  reply.raw.once('finish', () => {
    if (!raw.complete) void readRest(raw);
  });
  if (reply.statusCode < 400 || reply.getHeader('connection') !== 'close') return;
  reply.removeHeader('connection');
  void readRest(raw);
}

/**
 * The answer to a body that is refused before all of it has come: sent at once, but ended behind the rest, because the
 * end of the last answer on a connection closes it, and bytes that then still arrive reset it.
 */
export function endBehindBody({ raw, method }: FastifyRequest, reply: FastifyReply, payload: unknown): unknown {
  const isWhole = typeof payload === 'string' || Buffer.isBuffer(payload);
  if (raw.complete || reply.statusCode < 400 || method === 'HEAD' || !isWhole) return payload;
  reply.header('content-length', String(Buffer.byteLength(payload)));
  return Readable.from(
    (async function* () {
      yield Buffer.from(payload as string);
      await readRest(raw);
    })(),
    { objectMode: false },
  );
}
