/**
 * ext4 places a directory near its parent, so everything below one path shares a few groups of inodes. Without a
 * journal, it checks every inode of the group that was freed in the last minutes before it reuses one: on a node where
 * containers come and go, a new file then takes a millisecond. A directory that is marked as the top of a hierarchy has
 * its subdirectories placed in the emptiest groups instead (docs/adr/0011).
 */
import { statfs } from 'node:fs/promises';
import type { Logger } from '../src/lib/logger.ts';
import { makeDirectory } from '../src/lib/make-directory.ts';
import { runTool } from './run-tool.ts';

const EXT_MAGIC = 0xef53;
const CHATTR_MS = 10_000;

/**
 * Creates directories whose subdirectories come and go, each with its mode. One that exists keeps its mode. Where they
 * cannot be marked, files below them may be slow to make.
 */
export async function makeSpreadDirectories(modes: Readonly<Record<string, number>>, log: Logger): Promise<void> {
  const onExt: string[] = [];
  for (const [path, mode] of Object.entries(modes)) {
    makeDirectory(path, mode);
    if ((await statfs(path)).type === EXT_MAGIC) onExt.push(path);
  }
  if (onExt.length === 0) return;
  try {
    await runTool('chattr', ['+T', ...onExt], { deadlineMs: CHATTR_MS });
  } catch (error) {
    log.info({ err: error, directories: onExt }, 'directories cannot be marked: making files below them may be slow');
  }
}
