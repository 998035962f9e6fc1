/** Where the service is and who we are, from the environment unless given. */
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
  /** One, or several with commas between. */
  url?: string | undefined;
  urls?: readonly string[] | undefined;
  apiKey?: string | undefined;
}

const DEFAULT_URL = `http://127.0.0.1:${GATEWAY_PORT}`;

/** @throws TypeError when an address is not one of a gateway, or there is none, or the key is none that can be sent. */
export function loadConfig(given: Given): ClientConfig {
  const urls = given.urls ?? (given.url ?? fromEnv('MILLIBOX_URL') ?? DEFAULT_URL).split(',');
  const apiKey = given.apiKey ?? fromEnv('MILLIBOX_API_KEY');
  if (urls.length === 0) throw new TypeError('no address of a gateway');
  return {
    urls: [...new Set(urls.map(readUrl))],
    apiKey: apiKey === undefined ? undefined : readKey(apiKey),
    userAgent: `millibox-sdk/${packageVersion()} node/${process.versions.node}`,
  };
}

/** A variable that is empty is as good as not set, as it is for the service. */
const fromEnv = (name: string): string | undefined => process.env[name] || undefined;

function readUrl(text: string): string {
  const url = URL.parse(text.trim());
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw new TypeError(`the address of a gateway is to begin with http:// or https://, and this does not: ${text}`);
  }
  // Said without the address, which may hold a password.
  if (url.username !== '' || url.password !== '') {
    throw new TypeError('the address of a gateway holds no user or password: the API key goes into MILLIBOX_API_KEY');
  }
  if (url.search !== '' || url.hash !== '') {
    throw new TypeError(`the address of a gateway ends before ? and #, and this does not: ${text}`);
  }
  // Many services are addressed with the version of their API. Ours is part of each call.
  return (url.origin + url.pathname).replace(/\/+$/, '').replace(/\/v1$/, '');
}

/** A gateway that does not know the call at all may be asked below a path that is not its own. */
export function doubtAddress(refusal: ServiceError, base: string): ServiceError {
  const { pathname } = new URL(base);
  if (refusal.code !== 'not_found' || pathname === '/') return refusal;
  const message = `${refusal.message.replace(/[^.]$/, '$&.')} The address of the gateway has a path, ${pathname}: is it right?`;
  return new ServiceError('not_found', message, { cause: refusal });
}

/** Without the line end of the file that it was read from. @throws TypeError when no header can carry it. */
export function readKey(text: string): string {
  const key = text.trim();
  if (!/^[\x21-\x7e]*$/.test(key)) {
    throw new TypeError('the API key has characters that no key has, such as a space or a line end within');
  }
  return key;
}
