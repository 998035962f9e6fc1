/** Contents of files and trees over HTTP: complete, in ranges, and as tar archives. */
import { Readable } from 'node:stream';
import type { FastifyReply } from 'fastify';
import * as z from 'zod';
import { ServiceError } from '../../../protocol/errors.ts';
import { FileStat, Path } from '../../../protocol/files.ts';
import { parseRange, validatorOf } from '../../files/range.ts';
import type { FileService, Reading } from '../../files/service.ts';
import { bodyOf } from '../../http/body.ts';
import { queryFlag, route, type Call, type Route } from '../../http/route.ts';
import { FILES_URL, NOTHING, OctalMode, Owner, PathQuery, TimeMs } from './file-parameters.ts';
import { SandboxPath } from './sandbox-routes.ts';

const WriteQuery = z.strictObject({
  path: Path,
  mode: OctalMode.optional(),
  owner: Owner.optional(),
  modifiedAtMs: TimeMs.optional(),
  append: queryFlag.optional(),
});
const BYTES = 'application/octet-stream';
const TAR = 'application/x-tar';
/** The kernel's own files (as in /proc) report wrong sizes; those are small. */
const TRUST_SIZE_BYTES = 1024 * 1024;

type PathCall = Call<z.infer<typeof SandboxPath>, z.infer<typeof PathQuery>, unknown>;

export function fileContentRoutes(files: FileService): Route[] {
  return [
    route(
      {
        method: 'GET',
        url: FILES_URL,
        id: 'readFile',
        summary: 'The bytes of a file. Range is supported',
        params: SandboxPath,
        query: PathQuery,
        answers: {
          200: { description: 'The file', contentType: BYTES },
          206: { description: 'The range', contentType: BYTES },
        },
      },
      async (call) => {
        const { tenant, params, query, reply, signal } = call;
        const range = await rangeOf(files, call);
        if (range === null) {
          const reading = await files.read(tenant, params.id, { path: query.path }, signal);
          const size = reading.stat?.sizeBytes ?? 0;
          if (size >= TRUST_SIZE_BYTES) reply.header('content-length', String(size));
          if (reading.stat !== null) describe(reply, reading.stat);
          return sendBytes(call, reading, BYTES, size >= TRUST_SIZE_BYTES ? size : null);
        }
        const { offset, length, stat } = range;
        const reading = await files.read(tenant, params.id, { path: query.path, offset, length }, signal);
        reply.code(206);
        reply.header('content-range', `bytes ${offset}-${offset + length - 1}/${stat.sizeBytes}`);
        describe(reply, stat);
        reply.header('content-length', String(length));
        return sendBytes(call, reading, BYTES, length);
      },
    ),
    route(
      {
        method: 'HEAD',
        url: FILES_URL,
        id: 'headFile',
        summary: 'The headers that reading a file would return, without its bytes',
        params: SandboxPath,
        query: PathQuery,
        answers: { 200: { description: 'The headers of the file', contentType: BYTES } },
      },
      async (call) => {
        const stat = await look(files, call);
        describe(call.reply, stat);
        return call.reply.header('content-length', String(stat.sizeBytes)).type(BYTES).send();
      },
    ),
    route(
      {
        method: 'PUT',
        url: FILES_URL,
        id: 'writeFile',
        summary: 'Write a file, under a temporary name that is then renamed. Creates parent directories',
        params: SandboxPath,
        query: WriteQuery,
        rawBody: BYTES,
        answers: { 200: { description: 'The file', schema: FileStat } },
      },
      ({ tenant, params, query, request, signal }) => {
        const { 'content-length': size, 'content-range': part } = request.headers;
        // If a part were taken for the whole, it would replace the file.
        if (part !== undefined)
          throw new ServiceError(
            'invalid_request',
            'a file cannot be written in parts: send the whole body without Content-Range',
          );
        const write = { ...query, ...(size === undefined ? {} : { size: Number(size) }) };
        return files.write(tenant, params.id, write, bodyOf(request), signal);
      },
    ),
    route(
      {
        method: 'GET',
        url: `${FILES_URL}/tar`,
        id: 'readTree',
        summary: 'A tree as a tar archive',
        params: SandboxPath,
        query: PathQuery,
        answers: { 200: { description: 'The archive', contentType: TAR } },
      },
      async (call) => {
        const { tenant, params, query, signal } = call;
        return sendBytes(call, await files.readTar(tenant, params.id, query.path, signal), TAR, null);
      },
    ),
    route(
      {
        method: 'PUT',
        url: `${FILES_URL}/tar`,
        id: 'writeTree',
        summary: 'Unpack a tar archive below a path',
        params: SandboxPath,
        query: z.strictObject({ path: Path, owner: Owner.optional() }),
        rawBody: TAR,
        answers: { 200: { description: 'Unpacked', schema: NOTHING } },
      },
      async ({ tenant, params, query, request, signal }) => {
        await files.writeTar(tenant, params.id, query, bodyOf(request), signal);
        return {};
      },
    ),
  ];
}

/**
 * With `length`, exactly that many bytes: if the file shrinks meanwhile, the answer breaks off, which the client
 * notices.
 */
function sendBytes(
  { reply, signal }: Call<unknown, unknown, unknown>,
  reading: Reading,
  type: string,
  length: number | null,
): unknown {
  const source = length === null ? reading.bytes : exactly(reading.bytes, length);
  const body = Readable.from(source, { objectMode: false, highWaterMark: 64 * 1024 });
  signal.addEventListener('abort', () => reading.cancel(), { once: true });
  body.once('close', () => reading.cancel());
  return reply.type(type).send(body);
}

/** Opens the file and reads nothing: only then do the kernel's own files say what they hold. */
async function look(files: FileService, { tenant, params, query, signal }: PathCall): Promise<FileStat> {
  const reading = await files.read(tenant, params.id, { path: query.path, length: 0 }, signal);
  reading.cancel();
  if (reading.stat === null) throw new ServiceError('protocol_error');
  return reading.stat;
}

/** Null: the whole file. A range of a file that has changed is useless to a client that has the rest of the old one. */
async function rangeOf(
  files: FileService,
  call: PathCall,
): Promise<{ offset: number; length: number; stat: FileStat } | null> {
  const { range: wanted, 'if-range': unchanged } = call.request.headers;
  if (wanted === undefined) return null;
  const stat = await look(files, call);
  if (unchanged !== undefined && unchanged !== validatorOf(stat)) return null;
  const range = parseRange(wanted, stat.sizeBytes);
  return range === null ? null : { ...range, stat };
}

function describe(reply: FastifyReply, stat: FileStat): void {
  reply.headers({ 'accept-ranges': 'bytes', etag: validatorOf(stat) });
}

async function* exactly(source: AsyncIterable<Buffer>, length: number): AsyncGenerator<Buffer> {
  let left = length;
  if (left === 0) return;
  for await (const chunk of source) {
    const part = chunk.length > left ? chunk.subarray(0, left) : chunk;
    left -= part.length;
    yield part;
    if (left === 0) return;
  }
  throw new ServiceError('interrupted', 'the file became shorter while it was read');
}
