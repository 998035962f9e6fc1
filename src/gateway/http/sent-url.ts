/**
 * The router refuses a path that is not percent-encoded UTF-8. What follows the address of a port is a path of the
 * server inside, which may have names in other encodings, so the router gets only the part that is ours.
 */
import type { IncomingMessage } from 'node:http';

const sent = new WeakMap<IncomingMessage, string>();

/**
 * The address for the router.
 * @param foreign beginnings of addresses whose rest is not ours
 */
export function routable(request: IncomingMessage, url: string, foreign: readonly RegExp[]): string {
  const [path = ''] = url.split('?', 1);
  if (isUtf8(path)) return url;
  for (const beginning of foreign) {
    const [ours] = beginning.exec(path) ?? [];
    if (ours === undefined) continue;
    sent.set(request, url);
    return `${ours}/`;
  }
  return url;
}

/** The address that the client asked for, or that it was replaced with. */
export const sentUrl = (request: IncomingMessage): string => sent.get(request) ?? request.url ?? '';

export function replaceSentUrl(request: IncomingMessage, url: string): void {
  sent.delete(request);
  request.url = url;
}

function isUtf8(path: string): boolean {
  try {
    decodeURIComponent(path);
    return true;
  } catch {
    return false;
  }
}
