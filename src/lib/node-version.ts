/**
 * Whether this Node.js will do. An older one would fail somewhere in the middle, in words that name no version. So this
 * comes before all else, and is written in what old ones understand.
 */
import { readFileSync } from 'node:fs';

/** Why not, in one line; undefined: it will do. */
export function unfitNode(): string | undefined {
  const needed = neededNode();
  const found = process.versions.node;
  if (needed === undefined || compare(found, needed) >= 0) return undefined;
  return `Node.js ${needed} or newer is needed, and this is ${found} (${process.execPath})`;
}

/** As package.json has it, two levels up in the sources, three in the build. */
function neededNode(): string | undefined {
  for (const up of ['../../package.json', '../../../package.json']) {
    try {
      const text = readFileSync(new URL(up, import.meta.url), 'utf8');
      const { name, engines } = JSON.parse(text) as { name: string; engines: { node: string } };
      if (name === 'millibox') return engines.node.replace(/^>=/, '');
    } catch {
      // Not at this level.
    }
  }
  return undefined;
}

function compare(a: string, b: string): number {
  const theirs = b.split('.').map(Number);
  for (const [i, part] of a
    .split('.')
    .map((text) => parseInt(text, 10))
    .entries()) {
    const difference = part - (i < theirs.length ? (theirs[i] as number) : 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
