/** Detects what kind of archive a file is: `docker save`, OCI, or the tar of a root file system. */
import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { parseJson } from '../../src/lib/parse-json.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import { runInJail } from './jail.ts';
import { forProcessor, isForOthers, OUR_PROCESSOR } from './processor.ts';
import { ToolError } from '../run-tool.ts';

const LIST_MS = 10 * 60_000;
const COPY_MS = 30 * 60_000;
const GZIP_MAGIC = Buffer.from([0x1f, 0x8b]);

/** `image`: which one in the archive; a suffix of skopeo's name for it. */
type Layers = { kind: 'docker-archive' | 'oci-archive'; image: string };
type Archive = Layers | { kind: 'rootfs' };

/**
 * The top-level file that identifies each kind, and the schema it must match, because a root file system may contain a
 * file of the same name (web applications have a `manifest.json`). The first match wins.
 */
const MARKS = {
  'docker-archive': {
    name: 'manifest.json',
    form: z.array(z.object({ Config: z.string(), Layers: z.array(z.string()).nullish() })).min(1),
  },
  'oci-archive': { name: 'oci-layout', form: z.object({ imageLayoutVersion: z.string() }) },
} as const;

/** The images of an OCI archive: an entry for each of their names. */
const INDEX = {
  name: 'index.json',
  form: z.object({
    manifests: z.array(z.object({ digest: z.string(), annotations: z.record(z.string(), z.string()).nullish() })),
  }),
} as const;
const NAME_IN_INDEX = 'org.opencontainers.image.ref.name';

/** `tar -C DIR .` prefixes names with `./`. */
const spellings = (name: string): string[] => [name, `./${name}`];

/** @throws ServiceError `image_invalid` if it is not a tar, or contains several images. */
export async function readArchive(path: string, signal?: AbortSignal): Promise<Archive> {
  const names = await topNames(path, signal);
  const read = async <T>({ name, form }: { name: string; form: z.ZodType<T> }): Promise<T | undefined> => {
    const spelling = spellings(name).find((each) => names.has(each));
    return spelling === undefined ? undefined : parseJson(form, await textOf(path, spelling, signal));
  };
  const saved = await read(MARKS['docker-archive']);
  if (saved !== undefined) {
    if (saved.length > 1) throw severalImages();
    return { kind: 'docker-archive', image: '' };
  }
  if ((await read(MARKS['oci-archive'])) === undefined) return { kind: 'rootfs' };
  return { kind: 'oci-archive', image: onlyImage((await read(INDEX))?.manifests ?? []) };
}

/** How skopeo is told which entry to take: by a name, where one image has several. */
function onlyImage(
  entries: readonly { digest: string; annotations?: Record<string, string> | null | undefined }[],
): string {
  if (new Set(entries.map(({ digest }) => digest)).size > 1) throw severalImages();
  const name = entries.map(({ annotations }) => annotations?.[NAME_IN_INDEX]).find((each) => each !== undefined);
  return entries.length > 1 && name !== undefined ? `:${name}` : '';
}

const severalImages = (): ServiceError =>
  new ServiceError('image_invalid', 'the archive contains several images: import one at a time');

/** The content of a file in the archive; empty if it is not a regular file. */
async function textOf(path: string, name: string, signal?: AbortSignal): Promise<string> {
  const extract = ['tar', '--extract', '--to-stdout', '--file=/archive', '--occurrence=1', name];
  try {
    return await runInJail({ readOnly: { [path]: '/archive' } }, extract, { deadlineMs: LIST_MS, signal });
  } catch (error) {
    if (error instanceof ServiceError) throw error;
    throw new ServiceError('image_invalid', 'the archive cannot be read', { cause: error });
  }
}

/** Which markers are present. Looked up by name, because a root file system may have a million other files. */
async function topNames(path: string, signal?: AbortSignal): Promise<Set<string>> {
  const asked = [...Object.values(MARKS), INDEX].flatMap(({ name }) => spellings(name));
  const list = ['tar', '--list', '--file=/archive', '--occurrence=1', ...asked];
  try {
    const told = await runInJail({ readOnly: { [path]: '/archive' } }, list, { deadlineMs: LIST_MS, signal });
    return new Set(told.split('\n'));
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    // tar fails if a name is missing, and prints which.
    const missing = asked.filter((name) => error.output.includes(`: ${name}: Not found`));
    if (missing.length === 0) throw new ServiceError('image_invalid', 'the archive is not a tar', { cause: error });
    return new Set(asked.filter((name) => !missing.includes(name)));
  }
}

/** Converts an archive of layers to an OCI layout in `dir`, under the name `image`. */
export async function archiveToLayout(
  { kind, image }: Layers,
  path: string,
  dir: string,
  signal?: AbortSignal,
): Promise<void> {
  const temporary = join(dir, 'tmp');
  await mkdir(temporary, { recursive: true });
  const plain = (await isGzip(path)) ? await gunzip(path, temporary, signal) : path;
  try {
    await forProcessor((processor) =>
      runInJail(
        // Mounted at a path without a colon: skopeo would parse what follows a colon as a tag.
        { readOnly: { [plain]: '/archive' }, writable: { [dir]: '/layout' } },
        [
          ...['skopeo', ...processor, '--tmpdir', '/layout/tmp', 'copy', '--insecure-policy'],
          ...['--dest-compress-format=gzip', `${kind}:/archive${image}`, 'oci:/layout:image'],
        ],
        { deadlineMs: COPY_MS, signal },
      ),
    );
  } catch (error) {
    if (error instanceof ServiceError) throw error;
    if (isForOthers(error)) {
      throw new ServiceError('image_invalid', `the archive has no image for linux on ${OUR_PROCESSOR}`, {
        cause: error,
      });
    }
    throw new ServiceError('image_invalid', 'the archive contains no readable image', { cause: error });
  }
  if (plain !== path) await rm(plain);
}

async function isGzip(path: string): Promise<boolean> {
  await using file = await open(path);
  const { buffer } = await file.read(Buffer.alloc(2), 0, 2, 0);
  return buffer.equals(GZIP_MAGIC);
}

/** skopeo 1.9, Debian 12's, cannot read the output of `docker save` once gzip has compressed it. */
async function gunzip(path: string, dir: string, signal?: AbortSignal): Promise<string> {
  const command = ['sh', '-c', 'exec gzip --decompress --stdout /archive >/plain/archive'];
  try {
    await runInJail({ readOnly: { [path]: '/archive' }, writable: { [dir]: '/plain' } }, command, {
      deadlineMs: COPY_MS,
      signal,
    });
  } catch (error) {
    if (error instanceof ServiceError) throw error;
    throw new ServiceError('image_invalid', 'the archive cannot be decompressed', { cause: error });
  }
  return join(dir, 'archive');
}
