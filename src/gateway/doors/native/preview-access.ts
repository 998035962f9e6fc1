/** Which port of which sandbox a preview is for, who may see it, and what of the request goes on to the server inside. */
import type { IncomingHttpHeaders } from 'node:http';
import { ServiceError } from '../../../protocol/errors.ts';
import type { Services } from '../../services.ts';

const KEY_HEADER = 'x-millibox-key';
const TOKEN_HEADER = 'x-millibox-token';
/** In a query, and as a cookie from then on. */
export const TOKEN_NAME = 'millibox_token';
const PATH = /^\/v1\/sandboxes\/([a-z0-9-]{1,64})\/ports\/(\d{1,5})(\/[^?]*)?(\?.*)?$/;
/** These speak of one connection, not of the message. */
export const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);
const OURS: ReadonlySet<string> = new Set([KEY_HEADER, TOKEN_HEADER, 'host', 'cookie']);

export interface Target {
  sandbox: string;
  port: number;
  /** For the server inside, with its query and without our token. */
  path: string;
  /** Token of the query. */
  token: string | undefined;
}

export interface Access {
  tenant: string;
  /** The caller has shown an API key as bearer, needed or not: it is not for the server inside. */
  keyAsBearer: boolean;
}

export const isPreview = (url: string | undefined): boolean => PATH.test(url ?? '');

/** @throws ServiceError `not_found`, `invalid_request` */
export function targetOf(url: string | undefined): Target {
  const [, sandbox = '', digits = '', path = '/', query = ''] = PATH.exec(url ?? '') ?? [];
  if (sandbox === '') throw new ServiceError('not_found');
  const port = Number(digits);
  if (port < 1 || port > 65_535) throw new ServiceError('invalid_request', 'a port is between 1 and 65535');
  // Parameters are kept as they are written: decoding and encoding again is not always the same.
  const parameters = query.slice(1).split('&');
  const token = parameters.find((parameter) => parameter.startsWith(`${TOKEN_NAME}=`))?.slice(TOKEN_NAME.length + 1);
  const rest = parameters.filter((parameter) => !parameter.startsWith(`${TOKEN_NAME}=`)).join('&');
  const kept = token === undefined ? query : rest === '' ? '' : `?${rest}`;
  return { sandbox, port, path: `${path}${kept}`, token };
}

/** An API key, or a token for just this port. @throws ServiceError `unauthenticated` */
export function authenticate({ auth, ports }: Services, headers: IncomingHttpHeaders, target: Target): Access {
  const keyAsBearer = isKey(auth, headers.authorization);
  const key = headers[KEY_HEADER];
  if (typeof key === 'string') return { tenant: auth.byKey(key).tenant, keyAsBearer };
  const token = tokenOf(headers, target);
  if (token !== undefined) return { tenant: ports.tokens.check(token, target).tenant, keyAsBearer };
  return { tenant: auth.byHeader(headers.authorization).tenant, keyAsBearer };
}

function tokenOf(headers: IncomingHttpHeaders, target: Target): string | undefined {
  const header = headers[TOKEN_HEADER];
  return (typeof header === 'string' ? header : undefined) ?? target.token ?? cookies(headers).own;
}

function isKey(auth: Services['auth'], authorization: string | undefined): boolean {
  if (authorization === undefined) return false;
  try {
    auth.byHeader(authorization);
    return true;
  } catch {
    return false;
  }
}

/** Without what is for us, or for the connection to us. */
export function headersFor(
  headers: IncomingHttpHeaders,
  target: Target,
  access: Access,
): Record<string, string | string[]> {
  const kept: Record<string, string | string[]> = {};
  const listed = (headers.connection ?? '').toLowerCase().split(/\s*,\s*/);
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || HOP_BY_HOP.has(name) || OURS.has(name) || listed.includes(name)) continue;
    if (name === 'authorization' && access.keyAsBearer) continue;
    // The page that was opened with a token has it in its address, which browsers tell with all it loads.
    if (name === 'referer' && mentionsToken(value, tokenOf(headers, target))) continue;
    kept[name] = value;
  }
  const { others } = cookies(headers);
  if (others !== '') kept['cookie'] = others;
  kept['host'] = `localhost:${target.port}`;
  kept['x-forwarded-host'] = headers.host ?? '';
  return kept;
}

function mentionsToken(value: string | string[], token: string | undefined): boolean {
  const text = String(value);
  return text.includes(`${TOKEN_NAME}=`) || (token !== undefined && text.includes(token));
}

/** So that what the page loads next is let in as well. */
export function tokenCookie(target: Target, token: string, ownHost: boolean): string {
  const path = ownHost ? '/' : `/v1/sandboxes/${target.sandbox}/ports/${target.port}`;
  return `${TOKEN_NAME}=${token}; Path=${path}; HttpOnly; SameSite=Lax`;
}

function cookies(headers: IncomingHttpHeaders): { own: string | undefined; others: string } {
  const all = (headers.cookie ?? '').split(/;\s*/).filter((cookie) => cookie !== '');
  const own = all.find((cookie) => cookie.startsWith(`${TOKEN_NAME}=`))?.slice(TOKEN_NAME.length + 1);
  return { own, others: all.filter((cookie) => !cookie.startsWith(`${TOKEN_NAME}=`)).join('; ') };
}
