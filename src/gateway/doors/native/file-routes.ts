/** File operations over HTTP, other than reading and writing contents. */
import * as z from 'zod';
import { FileEntry, FileStat, Path } from '../../../protocol/files.ts';
import type { FileService } from '../../files/service.ts';
import { queryFlag, route, type Route } from '../../http/route.ts';
import { AnyMode, FILES_URL, NOTHING, Owner } from './file-parameters.ts';
import { SandboxPath } from './sandbox-routes.ts';

export function fileRoutes(files: FileService): Route[] {
  return [
    route(
      {
        method: 'DELETE',
        url: FILES_URL,
        id: 'removeFile',
        summary: 'Remove a file or, with recursive, a tree',
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
        url: `${FILES_URL}/list`,
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
        url: `${FILES_URL}/stat`,
        id: 'statFile',
        summary: 'Type, size, mode, owner and time of a path; follow=false describes a link itself',
        params: SandboxPath,
        query: z.strictObject({ path: Path, follow: queryFlag.optional() }),
        answers: { 200: { description: 'The file', schema: FileStat } },
      },
      ({ tenant, params, query }) => files.stat(tenant, params.id, query),
    ),
    route(
      {
        method: 'POST',
        url: `${FILES_URL}/mkdir`,
        id: 'makeDirectory',
        summary: 'Create a directory and its parents',
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
        url: `${FILES_URL}/move`,
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
        url: `${FILES_URL}/chmod`,
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
  ];
}
