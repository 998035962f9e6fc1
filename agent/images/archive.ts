/** What kind of archive a file is: a `docker save` or OCI archive, or the tar of a root file system. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ServiceError } from '../../src/protocol/errors.ts';
import { runInJail } from './jail.ts';
import { ToolError } from './run-tool.ts';

const LIST_MS = 10 * 60_000;
const COPY_MS = 30 * 60_000;

type ArchiveKind = 'docker-archive' | 'oci-archive' | 'rootfs';

/** The top-level file that identifies each kind; the first one present decides. */
const MARKS = { 'docker-archive': 'manifest.json', 'oci-archive': 'oci-layout' } as const;

/** @throws ServiceError `image_invalid` if it is not a tar. */
export async function archiveKind(path: string, signal?: AbortSignal): Promise<ArchiveKind> {
  const names = await topNames(path, signal);
  for (const [kind, mark] of Object.entries(MARKS)) if (names.has(mark)) return kind as ArchiveKind;
  return 'rootfs';
}

/**
 * Which of the marks are present; `tar -C DIR .` writes them with `./` before. Asked for by name, because a root file
 * system has a million other files.
 */
async function topNames(path: string, signal?: AbortSignal): Promise<Set<string>> {
  const asked = Object.values(MARKS).flatMap((name) => [name, `./${name}`]);
  const list = ['tar', '--list', '--file=/archive', '--occurrence=1', ...asked];
  const plain = (names: readonly string[]): Set<string> => new Set(names.map((name) => name.replace(/^\.\//, '')));
  try {
    const told = await runInJail({ readOnly: { [path]: '/archive' } }, list, { deadlineMs: LIST_MS, signal });
    return plain(told.split('\n'));
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    // tar fails if one of the names is missing, and says which.
    const missing = asked.filter((name) => error.output.includes(`: ${name}: Not found`));
    if (missing.length === 0) throw new ServiceError('image_invalid', 'the archive is not a tar', { cause: error });
    return plain(asked.filter((name) => !missing.includes(name)));
  }
}

/** Turns an archive that holds layers into an OCI layout at `dir`, under the name `image`. */
export async function archiveToLayout(
  kind: 'docker-archive' | 'oci-archive',
  path: string,
  dir: string,
  signal?: AbortSignal,
): Promise<void> {
  await mkdir(join(dir, 'tmp'), { recursive: true });
  try {
    await runInJail(
      // Mounted under a name without a colon: skopeo would take what follows it for a tag.
      { readOnly: { [path]: '/archive' }, writable: { [dir]: '/layout' } },
      [
        ...['skopeo', '--tmpdir', '/layout/tmp', 'copy', '--insecure-policy', '--dest-compress-format=gzip'],
        ...[`${kind}:/archive`, 'oci:/layout:image'],
      ],
      { deadlineMs: COPY_MS, signal },
    );
  } catch (error) {
    if (error instanceof ServiceError) throw error;
    throw new ServiceError('image_invalid', 'the archive holds no image that can be read', { cause: error });
  }
}
