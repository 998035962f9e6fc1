/**
 * Which response headers of a server inside reach the client. A port may share its host with the gateway and with other
 * sandboxes' ports, so headers that would affect more than the port itself are dropped or narrowed to the port.
 */
import type { IncomingHttpHeaders } from 'node:http';
import { portOfHost } from '../../ports/tokens.ts';
import { HOP_BY_HOP, listedIn, TOKEN_NAME, type Target } from './preview-access.ts';

/** Headers that would apply to the whole host. */
const OF_THE_HOST: ReadonlySet<string> = new Set([
  'alt-svc',
  'clear-site-data',
  // Makes browsers report every request to the host to a third party: its URL, and with it the tokens of other ports.
  'nel',
  'report-to',
  'strict-transport-security',
]);
/** Lets a service worker control pages outside its own path: on a shared host, pages of other ports. */
const WORKER_SCOPE = 'service-worker-allowed';
const ADDRESSES: ReadonlySet<string> = new Set(['location', 'content-location']);

/** Path prefix under which clients reach the port; '' if it has a host of its own. Null: unknown. */
export type Base = string | null;

/** @param domain the preview domain, under which ports have hosts of their own; null: there is none */
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

/** Restricts a cookie to this host and, on a shared host, to this port's path. Undefined: it must not be set at all. */
function ownCookie(cookie: string, base: Base): string | undefined {
  const [pair = '', ...attributes] = cookie.split(';');
  // A cookie without a name is sent back as its value alone, which then looks like a name and a value.
  if (pair.replace(/^\s*=/, '').split('=', 1)[0]?.trim() === TOKEN_NAME) return undefined;
  const kept = attributes.filter((attribute) => !/^\s*domain\s*(=|$)/i.test(attribute));
  const own = kept.map((attribute) => {
    const [, path] = /^\s*path\s*=\s*(\/.*)$/i.exec(attribute) ?? [];
    return path === undefined ? attribute : ` Path=${below(path.trimEnd(), base)}`;
  });
  return [pair, ...own].join(';');
}

/** Rewrites a URL of the server inside, which sees itself as `localhost:PORT/`. */
function ownAddress(address: string, { port }: Target, base: Base): string {
  const absolute = new RegExp(`^(?:https?:)?//(?:localhost|127\\.0\\.0\\.1):${port}(/.*)?$`, 'i').exec(address);
  const own = absolute === null ? address : (absolute[1] ?? '/');
  return /^\/(?!\/)/.test(own) ? below(own, base) : own;
}

function below(path: string, base: Base): string {
  if (base === null || base === '' || path === base || path.startsWith(`${base}/`)) return path;
  return `${base}${path}`;
}
