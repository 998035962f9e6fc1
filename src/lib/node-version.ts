/**
 * Whether this version of Node.js is supported. An older one would fail midway, with an error that names no version. So
 * this is checked first, and written in syntax that old versions understand.
 */
import { ownPackage } from './own-package.ts';

/** Why not, in one line; undefined: it is supported. */
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
