/** The service's address and the client's key, from the environment unless given. */
import { packageVersion } from '../lib/own-package.ts';
import { GATEWAY_PORT } from '../protocol/client.ts';
import { ServiceError } from '../protocol/errors.ts';

export interface ClientConfig {
  /** Gateways of one service, without trailing slashes: at least one. */
  urls: readonly string[];
  apiKey: string | undefined;
  /** Shown to the server. */
  userAgent: string;
}

export interface Given {
  /** One, or several separated by commas. */
  url?: string | undefined;
  urls?: readonly string[] | undefined;
  apiKey?: string | undefined;
}

const DEFAULT_URL = `http://127.0.0.1:${GATEWAY_PORT}`;

/** @throws TypeError for an invalid gateway address, an empty list, or a key that cannot be sent. */
export function loadConfig(given: Given): ClientConfig {
  const urls = given.urls ?? (given.url ?? fromEnv('MILLIBOX_URL') ?? DEFAULT_URL).split(',');
  const apiKey = given.apiKey ?? fromEnv('MILLIBOX_API_KEY');
  if (urls.length === 0) throw new TypeError('urls is empty: give at least one gateway address');
  return {
    urls: [...new Set(urls.map(readUrl))],
    apiKey: apiKey === undefined ? undefined : readKey(apiKey),
    userAgent: `millibox-sdk/${packageVersion()} node/${process.versions.node}`,
  };
}

/** An empty variable counts as unset, as it does for the service. */
const fromEnv = (name: string): string | undefined => process.env[name] || undefined;

function readUrl(text: string): string {
  const url = URL.parse(text.trim());
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw new TypeError(`a gateway address must begin with http:// or https://: ${text}`);
  }
  // Reported without the address, which may contain a password.
  if (url.username !== '' || url.password !== '') {
    throw new TypeError('a gateway address cannot contain a user or password: set the API key in MILLIBOX_API_KEY');
  }
  if (url.search !== '' || url.hash !== '') {
    throw new TypeError(`a gateway address cannot contain ? or #: ${text}`);
  }
  // Many services are addressed with the version of their API. Ours is part of each call's path.
  return (url.origin + url.pathname).replace(/\/+$/, '').replace(/\/v1$/, '');
}

/** If the gateway does not know the call at all, the address may contain a wrong path. */
export function doubtAddress(refusal: ServiceError, base: string): ServiceError {
  const { pathname } = new URL(base);
  if (refusal.code !== 'not_found' || pathname === '/') return refusal;
  const message = `${refusal.message.replace(/[^.]$/, '$&.')} The address of the gateway has a path, ${pathname}: is it right?`;
  return new ServiceError('not_found', message, { cause: refusal });
}

/** Strips a trailing line break, as from a file. @throws TypeError if no header can carry the key. */
export function readKey(text: string): string {
  const key = text.trim();
  if (!/^[\x21-\x7e]*$/.test(key)) {
    throw new TypeError('the API key contains characters that no key can have, such as a space or a line break');
  }
  return key;
}
