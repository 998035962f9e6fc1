/** Unpacks layers and archives into directory trees that sandboxes share read-only. */
import { mkdir, readdir } from 'node:fs/promises';
import { ServiceError } from '../../src/protocol/errors.ts';
import { runInJail, type Binds } from './jail.ts';
import { ToolError } from '../run-tool.ts';

const UNPACK_MS = 30 * 60_000;
const REASON_CHARS = 300;

/** Unpacks all layers of an OCI layout into `root` (created here): whiteouts, hard links and xattrs applied. */
export async function unpackLayout(layout: string, root: string, signal?: AbortSignal): Promise<void> {
  await mkdir(root, { recursive: true });
  await unpack(
    { readOnly: { [layout]: '/layout' }, writable: { [root]: '/root' } },
    ['umoci', 'raw', 'unpack', '--image', '/layout:image', '/root'],
    signal,
  );
}

/** Unpacks a root file system, one tar, compressed or not, into `root` (created here). */
export async function unpackTar(tar: string, root: string, signal?: AbortSignal): Promise<void> {
  await mkdir(root, { recursive: true });
  await unpack(
    { readOnly: { [tar]: '/rootfs.tar' }, writable: { [root]: '/root' } },
    [
      'tar',
      '--extract',
      '--file=/rootfs.tar',
      '--directory=/root',
      '--numeric-owner',
      '--same-owner',
      '--same-permissions',
      '--xattrs',
      '--xattrs-include=*',
    ],
    signal,
  );
  if ((await readdir(root)).length === 0) throw new ServiceError('image_invalid', 'the archive is empty');
}

async function unpack(binds: Binds, command: readonly string[], signal?: AbortSignal): Promise<void> {
  try {
    await runInJail(binds, command, { deadlineMs: UNPACK_MS, signal });
  } catch (error) {
    if (error instanceof ServiceError) throw error;
    const why = error instanceof ToolError ? reasonIn(error.output) : '';
    throw new ServiceError('image_invalid', `the image could not be unpacked${why}`, { cause: error });
  }
}

/** Lines that tar adds after the error itself. */
const AFTERWORD = /^tar: (?:Exiting|Skipping to next header)/;

/** The tool's last line of output: the entry, and what is wrong with it. Both are controlled by the image. */
function reasonIn(output: string): string {
  const lines = output.trimEnd().split('\n');
  const last = lines.findLast((line) => !AFTERWORD.test(line)) ?? '';
  const why = last.replace(/^.*unpack entry: /, '').replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '?');
  return why === '' ? '' : `: ${why.trim().slice(0, REASON_CHARS)}`;
}
