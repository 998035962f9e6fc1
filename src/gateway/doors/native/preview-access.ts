/**
 * Which port of which sandbox a preview request is for, who may see it, and which headers are forwarded to the server
 * inside.
 */
import type { IncomingHttpHeaders } from 'node:http';
import { ServiceError } from '../../../protocol/errors.ts';
import type { Caller } from '../../auth/auth.ts';
import type { Services } from '../../services.ts';

const KEY_HEADER = 'x-millibox-key';
export const TOKEN_HEADER = 'x-millibox-token';
/** Name of the token in a query, and of the cookie that is set from it. */
export const TOKEN_NAME = 'millibox_token';
const PATH = /^\/v1\/sandboxes\/([a-z0-9-]{1,64})\/ports\/(\d{1,5})(\/[^?]*)?(\?.*)?$/;
/** What precedes the path of the server inside. */
export const PREVIEWS = /^\/v1\/sandboxes\/[a-z0-9-]{1,64}\/ports\/\d{1,5}(?=\/)/;
/** Headers about one connection, not about the message. */
export const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
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
  /** Path for the server inside, with its query and without our token. */
  path: string;
  /** Token from the query. */
  token: string | undefined;
}

export interface Access {
  tenant: string;
  /** Absent: a token opened it. */
  caller?: Caller;
  /** The bearer token is an API key, whether or not it was needed: it must not reach the server inside. */
  keyAsBearer: boolean;
}

export const isPreview = (url: string | undefined): boolean => PATH.test(url ?? '');

/** @throws ServiceError `not_found`, `invalid_request` */
export function targetOf(url: string | undefined): Target {
  const [, sandbox = '', digits = '', path = '/', query = ''] = PATH.exec(url ?? '') ?? [];
  if (sandbox === '') throw new ServiceError('not_found');
  const port = Number(digits);
  if (port < 1 || port > 65_535) throw new ServiceError('invalid_request', 'a port is between 1 and 65535');
  // Parameters stay as they were written: decoding and encoding them again can change them.
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
  if (typeof key === 'string') return withKey(auth.byKey(key), keyAsBearer);
  const token = tokenOf(headers, target);
  if (token !== undefined) return { tenant: ports.tokens.check(token, target).tenant, keyAsBearer };
  const { own } = cookies(headers);
  const grant = firstValid(own, (one) => ports.tokens.check(one, target));
  if (grant !== undefined) return { tenant: grant.tenant, keyAsBearer };
  // A cookie may be stale, or set by another page, so it never overrides a valid key.
  if (!keyAsBearer && own[0] !== undefined) ports.tokens.check(own[0], target);
  return withKey(auth.byHeader(headers.authorization), keyAsBearer);
}

const withKey = (caller: Caller, keyAsBearer: boolean): Access => ({ tenant: caller.tenant, caller, keyAsBearer });

function tokenOf(headers: IncomingHttpHeaders, target: Target): string | undefined {
  const header = headers[TOKEN_HEADER];
  return typeof header === 'string' ? header : target.token;
}

function firstValid<T>(all: readonly string[], check: (one: string) => T): T | undefined {
  for (const one of all) {
    const valid = unlessRefused(() => check(one));
    if (valid !== undefined) return valid;
  }
  return undefined;
}

function isKey(auth: Services['auth'], authorization: string | undefined): boolean {
  return authorization !== undefined && unlessRefused(() => auth.byHeader(authorization)) !== undefined;
}

/** Undefined if the check refuses the credentials. @throws any other failure of the check */
function unlessRefused<T>(check: () => T): T | undefined {
  try {
    return check();
  } catch (error) {
    if (error instanceof ServiceError && error.code === 'unauthenticated') return undefined;
    throw error;
  }
}

/** The request's headers without those for the gateway itself or for the connection to it. */
export function headersFor(
  headers: IncomingHttpHeaders,
  target: Target,
  access: Access,
): Record<string, string | string[]> {
  const kept: Record<string, string | string[]> = {};
  const listed = listedIn(headers.connection);
  const { own, others } = cookies(headers);
  const tokens = [tokenOf(headers, target), ...own].filter((token) => token !== undefined);
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || HOP_BY_HOP.has(name) || OURS.has(name) || listed.includes(name)) continue;
    if (name === 'authorization' && access.keyAsBearer) continue;
    // A page that was opened with a token has it in its URL, which browsers send as the referrer of everything it
    // loads.
    if (name === 'referer' && mentionsToken(value, tokens)) continue;
    kept[name] = value;
  }
  if (others !== '') kept['cookie'] = others;
  kept['host'] = `localhost:${target.port}`;
  kept['x-forwarded-host'] = headers.host ?? '';
  return kept;
}

/** Names of headers that a `Connection` header declares hop-by-hop. */
export const listedIn = (connection: string | undefined): string[] =>
  (connection ?? '')
    .toLowerCase()
    .trim()
    .split(/\s*,\s*/);

function mentionsToken(value: string | string[], tokens: readonly string[]): boolean {
  const text = String(value);
  return text.includes(`${TOKEN_NAME}=`) || tokens.some((token) => token !== '' && text.includes(token));
}

/** A cookie that authorises what the page loads next. */
export function tokenCookie(token: string, base: string): string {
  return `${TOKEN_NAME}=${token}; Path=${base === '' ? '/' : base}; HttpOnly; SameSite=Lax`;
}

function cookies(headers: IncomingHttpHeaders): { own: string[]; others: string } {
  const all = (headers.cookie ?? '').split(/;\s*/).filter((cookie) => cookie !== '');
  const isOwn = (cookie: string): boolean => cookie.startsWith(`${TOKEN_NAME}=`);
  const own = all.filter(isOwn).map((cookie) => cookie.slice(TOKEN_NAME.length + 1));
  return { own, others: all.filter((cookie) => !isOwn(cookie)).join('; ') };
}
