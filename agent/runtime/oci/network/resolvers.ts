/** Name servers that sandboxes with a network are told of: the node's own, as far as they can be reached from elsewhere. */
import { readFileSync } from 'node:fs';
import { isIPv4 } from 'node:net';

/** The second is where systemd-resolved names the servers behind its own loopback address. */
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
    return [];
  }
}
