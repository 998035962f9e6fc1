/**
 * Whether this Node.js will do. An older one would fail somewhere in the middle, in words that name no version. So this
 * comes before all else, and is written in what old ones understand.
 */
import { ownPackage } from './own-package.ts';

/** Why not, in one line; undefined: it will do. */
export function unfitNode(): string | undefined {
  const needed = ownPackage()?.node;
  const found = process.versions.node;
  if (needed === undefined || compare(found, needed) >= 0) return undefined;
  return `Node.js ${needed} or newer is needed, and this is ${found} (${process.execPath})`;
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
