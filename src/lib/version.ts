/** Which millibox this is. */
import { readFileSync } from 'node:fs';

let known: string | undefined;

/** The package's own version: its package.json is two levels up in the sources, three in the build. */
export function packageVersion(): string {
  return (known ??= read());
}

function read(): string {
  for (const up of ['../../package.json', '../../../package.json']) {
    try {
      const text = readFileSync(new URL(up, import.meta.url), 'utf8');
      const parsed = JSON.parse(text) as { name?: unknown; version?: unknown };
      if (parsed.name === 'millibox' && typeof parsed.version === 'string') return parsed.version;
    } catch {
      // Not at this level.
    }
  }
  return '0';
}
