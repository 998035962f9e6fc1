import { Readable } from 'node:stream';
import type { FastifyReply } from 'fastify';
import * as z from 'zod';
import { ServiceError } from '../../../protocol/errors.ts';
import { FileEntry, FileStat, Mode, Owner as AnyOwner, Path } from '../../../protocol/files.ts';
import type { FileService, Reading } from '../../files/service.ts';
import { parseRange, validatorOf } from '../../files/range.ts';
import { bodyOf } from '../../http/body.ts';
import { queryFlag, route, type Call, type Route } from '../../http/route.ts';
import type { Services } from '../../services.ts';
import { SandboxPath } from './sandbox-routes.ts';

const Owner = AnyOwner.describe('name, uid, name:group or uid:gid');
/** As the command `chmod` takes it. */
const OctalMode = z
  .string()
  .regex(/^0?[0-7]{1,4}$/, 'not an octal mode')
  .transform((text) => parseInt(text, 8))
  .describe('Octal, as 0644');

const PathQuery = z.strictObject({ path: Path });
const WriteQuery = z.strictObject({
  path: Path,
  mode: OctalMode.optional(),
  owner: Owner.optional(),
  append: queryFlag.optional(),
});
/** In JSON: a number, as it is in answers, or octal as in a query. */
const AnyMode = z.union([Mode, OctalMode]);
const BYTES = 'application/octet-stream';
const TAR = 'application/x-tar';
/** Files of the kernel tell sizes that are not true; those are small. */
const TRUST_SIZE_BYTES = 1024 * 1024;
const NOTHING = z.object({});

type PathCall = Call<z.infer<typeof SandboxPath>, z.infer<typeof PathQuery>, unknown>;

export function fileRoutes({ files }: Services): Route[] {
  const base = '/v1/sandboxes/:id/files';
  return [
    route(
      {
        method: 'GET',
        url: base,
        id: 'readFile',
        summary: 'The bytes of a file. Range is understood',
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
        url: base,
        id: 'headFile',
        summary: 'What reading a file would answer, without its bytes',
        params: SandboxPath,
        query: PathQuery,
        answers: { 200: { description: 'The file, unread', contentType: BYTES } },
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
        url: base,
        id: 'writeFile',
        summary: 'Write a file: under a temporary name, then renamed. Parents are made',
        params: SandboxPath,
        query: WriteQuery,
        rawBody: BYTES,
        answers: { 200: { description: 'The file', schema: FileStat } },
      },
      ({ tenant, params, query, request, signal }) => {
        const { 'content-length': size, 'content-range': part } = request.headers;
        // Taken for the whole, a part would replace the file.
        if (part !== undefined) throw new ServiceError('invalid_request', 'A file cannot be written in parts.');
        const write = { ...query, ...(size === undefined ? {} : { size: Number(size) }) };
        return files.write(tenant, params.id, write, bodyOf(request), signal);
      },
    ),
    route(
      {
        method: 'DELETE',
        url: base,
        id: 'removeFile',
        summary: 'Remove a file, or with recursive a tree',
        params: SandboxPath,
        query: z.strictObject({ path: Path, recursive: queryFlag.optional() }),
        answers: { 200: { description: 'Removed', schema: NOTHING } },
      },
      async ({ tenant, params, query }) => {
        await files.remove(tenant, params.id, query);
        return {};
      },
    ),
    route(
      {
        method: 'GET',
        url: `${base}/list`,
        id: 'listFiles',
        summary: 'Entries of a directory, at most 1,000; after continues behind a name',
        params: SandboxPath,
        query: z.strictObject({ path: Path, after: z.string().max(4096).optional() }),
        answers: {
          200: { description: 'The entries', schema: z.object({ entries: z.array(FileEntry), more: z.boolean() }) },
        },
      },
      ({ tenant, params, query }) => files.list(tenant, params.id, query),
    ),
    route(
      {
        method: 'GET',
        url: `${base}/stat`,
        id: 'statFile',
        summary: 'What a path is; follow=false looks at a link itself',
        params: SandboxPath,
        query: z.strictObject({ path: Path, follow: queryFlag.optional() }),
        answers: { 200: { description: 'The file', schema: FileStat } },
      },
      ({ tenant, params, query }) => files.stat(tenant, params.id, query),
    ),
    route(
      {
        method: 'POST',
        url: `${base}/mkdir`,
        id: 'makeDirectory',
        summary: 'Make a directory and its parents',
        params: SandboxPath,
        body: z.strictObject({ path: Path, mode: AnyMode.optional(), owner: Owner.optional() }),
        answers: { 200: { description: 'Made', schema: NOTHING } },
      },
      async ({ tenant, params, body }) => {
        await files.mkdir(tenant, params.id, body);
        return {};
      },
    ),
    route(
      {
        method: 'POST',
        url: `${base}/move`,
        id: 'moveFile',
        summary: 'Rename',
        params: SandboxPath,
        body: z.strictObject({ path: Path, to: Path, overwrite: z.boolean().optional() }),
        answers: { 200: { description: 'Moved', schema: NOTHING } },
      },
      async ({ tenant, params, body }) => {
        await files.move(tenant, params.id, body);
        return {};
      },
    ),
    route(
      {
        method: 'POST',
        url: `${base}/chmod`,
        id: 'changeMode',
        summary: 'Change mode or owner',
        params: SandboxPath,
        body: z.strictObject({ path: Path, mode: AnyMode.optional(), owner: Owner.optional() }),
        answers: { 200: { description: 'Changed', schema: NOTHING } },
      },
      async ({ tenant, params, body }) => {
        await files.chmod(tenant, params.id, body);
        return {};
      },
    ),
    route(
      {
        method: 'GET',
        url: `${base}/tar`,
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
        url: `${base}/tar`,
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

/** With `length`, exactly so many bytes: a file that shrinks meanwhile breaks the answer off, which the client sees. */
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

/** Opens the file and reads nothing: only so does one of the kernel's own say what it holds. */
async function look(files: FileService, { tenant, params, query, signal }: PathCall): Promise<FileStat> {
  const reading = await files.read(tenant, params.id, { path: query.path, length: 0 }, signal);
  reading.cancel();
  if (reading.stat === null) throw new ServiceError('protocol_error');
  return reading.stat;
}

/** Null: the whole. A range of what has changed since is of no use to who has the rest. */
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
