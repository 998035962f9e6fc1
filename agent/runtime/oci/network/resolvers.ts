/** Default name servers for sandboxes with a network: the node's, except those on its loopback. */
import { readFileSync } from 'node:fs';
import { isIPv4 } from 'node:net';

/** The second lists the servers behind systemd-resolved's loopback address. */
const FILES = ['/etc/resolv.conf', '/run/systemd/resolve/resolv.conf'];
const MAX_SERVERS = 3;

export function findResolvers(files: readonly string[] = FILES): string[] {
  for (const file of files) {
    const servers = parse(file).filter((address) => isIPv4(address) && !address.startsWith('127.'));
    if (servers.length > 0) return servers.slice(0, MAX_SERVERS);
  }
  return [];
}

function parse(file: string): string[] {
  try {
    return [...readFileSync(file, 'utf8').matchAll(/^nameserver\s+(\S+)/gm)].map(([, address]) => address ?? '');
  } catch {
    // Either file may be missing.
    return [];
  }
}
