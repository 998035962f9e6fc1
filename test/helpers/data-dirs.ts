/** The data directories of a run's agents: what they make outside of them is named by them. */
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { testRun } from './config.ts';

const listIn = (directory: string): string => join(directory, 'data-dirs.log');

/** So that the end of the run can look for what an agent with this directory may have left. */
export function noteDataDir(path: string): void {
  const { directory } = testRun();
  if (directory !== undefined) appendFileSync(listIn(directory), `${path}\n`);
}

/** All that were noted in this run. */
export function notedDataDirs(directory: string): string[] {
  const list = listIn(directory);
  return existsSync(list) ? [...new Set(readFileSync(list, 'utf8').trim().split('\n'))] : [];
}
