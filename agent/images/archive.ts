/** What kind of archive a file is: a `docker save` or OCI archive, or the tar of a root file system. */
import { ServiceError } from '../../src/protocol/errors.ts';
import { runTool, ToolError } from './run-tool.ts';

const LIST_MS = 10 * 60_000;
const COPY_MS = 30 * 60_000;

export type ArchiveKind = 'docker-archive' | 'oci-archive' | 'rootfs';

/** @throws ServiceError `image_invalid` when it is no tar at all. */
export async function archiveKind(path: string, signal?: AbortSignal): Promise<ArchiveKind> {
  let kind: ArchiveKind = 'rootfs';
  try {
    // Of these names only: a root file system has a million others.
    const names = await runTool(
      'tar',
      [
        '--list',
        `--file=${path}`,
        '--wildcards',
        '--no-wildcards-match-slash',
        '--occurrence=1',
        'manifest.json',
        'oci-layout',
      ],
      { deadlineMs: LIST_MS, signal },
    );
    if (names.includes('oci-layout')) kind = 'oci-archive';
    if (names.includes('manifest.json')) kind = 'docker-archive';
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    const found = error.output.split('\n');
    const missing = (name: string): boolean => found.some((line) => line.includes(`${name}: Not found`));
    if (!missing('manifest.json') && !missing('oci-layout')) {
      throw new ServiceError('image_invalid', 'the archive is not a tar', { cause: error });
    }
    if (!missing('manifest.json')) kind = 'docker-archive';
    else if (!missing('oci-layout')) kind = 'oci-archive';
  }
  return kind;
}

/** Turns an archive that holds layers into an OCI layout at `dir`, under the name `image`. */
export async function archiveToLayout(
  kind: 'docker-archive' | 'oci-archive',
  path: string,
  dir: string,
  signal?: AbortSignal,
): Promise<void> {
  try {
    await runTool('skopeo', ['copy', '--insecure-policy', `${kind}:${path}`, `oci:${dir}:image`], {
      deadlineMs: COPY_MS,
      signal,
    });
  } catch (error) {
    if (error instanceof ServiceError) throw error;
    throw new ServiceError('image_invalid', 'the archive holds no image that can be read', { cause: error });
  }
}
