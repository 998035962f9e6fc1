/** What happens to a body that is answered before all of it has arrived. */
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';

/** More than twice the largest allowed body: a client that sends everything before it reads gets to its answer. */
const MAX_BYTES = 128 * 1024 * 1024;
const MAX_MS = 30_000;
const LOOK_MS = 50;

const readings = new WeakMap<IncomingMessage, Promise<void>>();

/**
 * Reads and drops the rest of a body that nobody reads any more, and resolves once there is none left. Beyond a bound
 * it ends the connection. The socket itself is watched: a request that was answered emits neither data nor end.
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
 * Bounds how much is read of a body after its answer. Fastify would close the connection after a body that no parser
 * takes; bytes that then still arrive reset the connection, and the client can lose the answer unread.
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
 * The answer to a body that is refused before all of it has arrived. It is sent at once but ended only after the rest
 * of the body: the end of the last answer closes the connection, and bytes that then still arrive would reset it.
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
