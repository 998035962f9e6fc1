/** Files of a sandbox: upload, download, and windows of their text. */
import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import * as z from 'zod';
import { ServiceError } from '../../../../protocol/errors.ts';
import { clientGone, onClosed } from '../../../http/client-gone.ts';
import { check, queryInt } from '../../../http/route.ts';
import type { PrimeContext } from '../context.ts';
import { readWindow } from './read-file.ts';
import { firstFile } from './upload.ts';

const MAX_READ_BYTES = 10 * 1024 * 1024;
const Path = z.string().min(1).max(4096);
const Query = z.object({ path: Path });
const MAX_OFFSET = Number.MAX_SAFE_INTEGER;
const WindowQuery = z.object({
  path: Path,
  offset: queryInt(-MAX_OFFSET, MAX_OFFSET).optional(),
  length: queryInt(0, MAX_OFFSET).optional(),
});

type Answer = Record<string, unknown>;

export async function uploadFile(
  { services }: PrimeContext,
  tenant: string,
  sandbox: string,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<Answer> {
  const { path } = check(Query, request.query, 'query');
  const source = await firstFile(request.raw);
  try {
    const stat = await services.files.write(tenant, sandbox, { path }, source, clientGone(reply));
    return { success: true, path, size: stat.sizeBytes, timestamp: new Date().toISOString() };
  } finally {
    source.destroy();
  }
}

export async function downloadFile(
  { services }: PrimeContext,
  tenant: string,
  sandbox: string,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { path } = check(Query, request.query, 'query');
  const reading = await services.files.read(tenant, sandbox, { path }, clientGone(reply));
  onClosed(reply, () => reading.cancel());
  return reply.type('application/octet-stream').send(Readable.from(reading.bytes));
}

export async function readFile(
  { services }: PrimeContext,
  tenant: string,
  sandbox: string,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<Answer> {
  const { path, offset, length } = check(WindowQuery, request.query, 'query');
  const whole = offset === undefined && length === undefined;
  const window = {
    path,
    offset: offset ?? 0,
    length: Math.min(length ?? MAX_READ_BYTES, MAX_READ_BYTES) + (whole ? 1 : 0),
  };
  const {
    bytes,
    totalBytes,
    offset: start,
  } = await readWindow(services.files, tenant, sandbox, window, clientGone(reply));
  if (whole && bytes.length > MAX_READ_BYTES) {
    const limits = `File size (${totalBytes} bytes) exceeds max read size (${MAX_READ_BYTES} bytes)`;
    throw new ServiceError('body_too_large', `${limits}. Use /download instead.`);
  }
  return {
    content: bytes.toString('utf8'),
    size: bytes.length,
    total_size: totalBytes,
    offset: start,
    truncated: start > 0 || start + bytes.length < totalBytes,
  };
}
