/**
 * ext4 places a directory near its parent, so everything below one path shares a few groups of inodes. Without a
 * journal, it checks every inode of the group that was freed in the last minutes before it reuses one: on a node where
 * containers come and go, a new file then takes a millisecond. A directory that is marked as the top of a hierarchy has
 * its subdirectories placed in the emptiest groups instead (docs/adr/0011).
 */
import { statfs } from 'node:fs/promises';
import type { Logger } from '../src/lib/logger.ts';
import { runTool } from './run-tool.ts';

/** What statfs(2) reports as the type of ext2, ext3 and ext4. */
export const EXT_MAGIC = 0xef53;
const CHATTR_MS = 10_000;

/**
 * For directories whose subdirectories come and go. Where one cannot be marked, files below it may be slow to make.
 * @throws Error if one does not exist
 */
export async function spreadSubdirectories(directories: readonly string[], log: Logger): Promise<void> {
  const onExt: string[] = [];
  for (const path of directories) if ((await statfs(path)).type === EXT_MAGIC) onExt.push(path);
  if (onExt.length === 0) return;
  try {
    await runTool('chattr', ['+T', ...onExt], { deadlineMs: CHATTR_MS });
  } catch (error) {
    log.info({ err: error, directories: onExt }, 'directories cannot be marked: making files below them may be slow');
  }
}
