/** Names by which what a run makes outside of its directory is known: data directories of agents, and hosts of tests. */
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { testRun } from './config.ts';

const DATA_DIRS = 'data-dirs.log';
const NAMESPACES = 'namespaces.log';

/** So that the end of the run can look for what an agent with this directory may have left. */
export const noteDataDir = (path: string): void => note(DATA_DIRS, path);

/** The same for network namespaces whose names begin so. */
export const noteNamespaces = (prefix: string): void => note(NAMESPACES, prefix);

/** All that were noted in this run. */
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
