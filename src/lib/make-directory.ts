import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Creates a directory with its parents; an existing one is left as it is. Node's own recursive call never returns where
 * the kernel refuses to create anything inside an existing directory, as below /proc.
 */
export function makeDirectory(path: string, mode?: number): void {
  const failure = tryToMake(path, mode);
  if (failure?.code !== 'ENOENT' || dirname(path) === path) return rethrow(failure);
  makeDirectory(dirname(path), mode);
  rethrow(tryToMake(path, mode));
}

function tryToMake(path: string, mode: number | undefined): NodeJS.ErrnoException | undefined {
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    const failure = error as NodeJS.ErrnoException;
    return failure.code === 'EEXIST' && statSync(path).isDirectory() ? undefined : failure;
  }
  return undefined;
}

function rethrow(failure: Error | undefined): void {
  if (failure !== undefined) throw failure;
}
