/** Whether a module is the program itself. */
import { realpathSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

/** @param url `import.meta.url`, which names the file itself, while the command line may name a link to it. */
export function isMain(url: string): boolean {
  const [, program] = process.argv;
  if (program === undefined) return false;
  try {
    return url === pathToFileURL(realpathSync(program)).href;
  } catch {
    return false;
  }
}
