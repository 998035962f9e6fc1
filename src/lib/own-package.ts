/**
 * The package that this module is part of. Its root is searched for, since sources, compiled modules and bundles lie at
 * different depths below it. Old versions of Node.js run this too, in order to report that they are too old.
 */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface OwnPackage {
  root: string;
  version: string;
  /** The oldest supported version of Node.js. */
  node: string;
}

let known: OwnPackage | null | undefined;

/** Null: this code is not inside its package, as in somebody else's bundle. */
export function ownPackage(): OwnPackage | null {
  if (known === undefined) known = find(dirname(fileURLToPath(import.meta.url)));
  return known;
}

export function packageVersion(): string {
  return ownPackage()?.version ?? '0';
}

/** @throws Error when this code is not inside its package */
export function packageRoot(): string {
  const own = ownPackage();
  if (own === null)
    throw new Error('millibox runs outside its package: there is no package.json of that name above it');
  return own.root;
}

/** Where the setup builds boxinit; whether it is there is not checked. @throws as `packageRoot` */
export function builtBoxinit(): string {
  const cpu = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
  return join(packageRoot(), 'agent/boxinit/target', `${cpu}-unknown-linux-gnu`, 'release/boxinit');
}

function find(from: string): OwnPackage | null {
  for (let root = from; ; root = dirname(root)) {
    const own = read(root);
    if (own !== null || dirname(root) === root) return own;
  }
}

function read(root: string): OwnPackage | null {
  try {
    const { name, version, engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      name: string;
      version: string;
      engines: { node: string };
    };
    return name === 'millibox' ? { root, version, node: engines.node.replace(/^>=/, '') } : null;
  } catch {
    return null;
  }
}
