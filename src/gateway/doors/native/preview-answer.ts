/**
 * What of an answer of a server inside reaches the client. Every port answers under a name or a path that it shares with
 * the gateway and with the ports of others: what speaks of more than the port itself is left out, or kept to the port.
 */
import type { IncomingHttpHeaders } from 'node:http';
import { portOfHost } from '../../ports/tokens.ts';
import { HOP_BY_HOP, listedIn, TOKEN_NAME, type Target } from './preview-access.ts';

/** These would hold for the whole host, for its neighbours, or for the way to it. */
const OF_THE_HOST: ReadonlySet<string> = new Set(['alt-svc', 'clear-site-data', 'strict-transport-security']);
/** Lets a worker see pages outside of its own path: by path those of other ports. */
const WORKER_SCOPE = 'service-worker-allowed';
const ADDRESSES: ReadonlySet<string> = new Set(['location', 'content-location']);

/** Where a port is for its clients: the path in front of its own ones, '' with a host of its own. Null: not known. */
export type Base = string | null;

/** @param domain below which ports have hosts of their own, if they have */
export function baseOf({ sandbox, port }: Target, host: string | undefined, domain: string | null): string {
  const ownHost = domain !== null && portOfHost(host, domain) !== undefined;
  return ownHost ? '' : `/v1/sandboxes/${sandbox}/ports/${port}`;
}

export function answerHeaders(
  headers: IncomingHttpHeaders,
  target: Target,
  base: Base,
): Record<string, string | string[]> {
  const kept: Record<string, string | string[]> = {};
  const listed = listedIn(headers.connection);
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || HOP_BY_HOP.has(name) || listed.includes(name) || OF_THE_HOST.has(name)) continue;
    if (name === WORKER_SCOPE && base !== '') continue;
    if (name === 'set-cookie') {
      const cookies = [value].flat().flatMap((cookie) => ownCookie(cookie, base) ?? []);
      if (cookies.length > 0) kept[name] = cookies;
    } else if (ADDRESSES.has(name) && typeof value === 'string') kept[name] = ownAddress(value, target, base);
    else kept[name] = value;
  }
  return kept;
}

/** A cookie of this host only and, where the host is shared, of this port's path. Undefined: it is not theirs to set. */
function ownCookie(cookie: string, base: Base): string | undefined {
  const [pair = '', ...attributes] = cookie.split(';');
  if (pair.split('=', 1)[0]?.trim() === TOKEN_NAME) return undefined;
  const kept = attributes.filter((attribute) => !/^\s*domain\s*(=|$)/i.test(attribute));
  const own = kept.map((attribute) => {
    const [, path] = /^\s*path\s*=\s*(\/.*)$/i.exec(attribute) ?? [];
    return path === undefined ? attribute : ` Path=${below(path.trimEnd(), base)}`;
  });
  return [pair, ...own].join(';');
}

/** Servers inside believe to be at `localhost:PORT/`, as they are asked. */
function ownAddress(address: string, { port }: Target, base: Base): string {
  const absolute = new RegExp(`^(?:https?:)?//(?:localhost|127\\.0\\.0\\.1):${port}(/.*)?$`, 'i').exec(address);
  const own = absolute === null ? address : (absolute[1] ?? '/');
  return /^\/(?!\/)/.test(own) ? below(own, base) : own;
}

function below(path: string, base: Base): string {
  if (base === null || base === '' || path === base || path.startsWith(`${base}/`)) return path;
  return `${base}${path}`;
}
