/** Names that identify what a run creates outside of its directory: agents' data directories, and test hosts. */
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { testRun } from './config.ts';

const DATA_DIRS = 'data-dirs.log';
const NAMESPACES = 'namespaces.log';

/** So that the end of the run can look for leftovers of an agent with this directory. */
export const noteDataDir = (path: string): void => note(DATA_DIRS, path);

/** The same for network namespaces with this name prefix. */
export const noteNamespaces = (prefix: string): void => note(NAMESPACES, prefix);

/** Everything noted in this run. */
export const notedDataDirs = (directory: string): string[] => noted(directory, DATA_DIRS);
export const notedNamespaces = (directory: string): string[] => noted(directory, NAMESPACES);

function note(list: string, text: string): void {
  const { directory } = testRun();
  if (directory !== undefined) appendFileSync(join(directory, list), `${text}\n`);
}

function noted(directory: string, list: string): string[] {
  const file = join(directory, list);
  return existsSync(file) ? [...new Set(readFileSync(file, 'utf8').trim().split('\n'))] : [];
}
