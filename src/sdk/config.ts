/** Where the service is and who we are, from the environment unless given. */
import { packageVersion } from '../lib/version.ts';
import { GATEWAY_PORT } from '../protocol/client.ts';

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

/** @throws TypeError when an address is not one of HTTP, or there is none. */
export function loadConfig(given: Given): ClientConfig {
  const env = process.env;
  const urls = given.urls ?? (given.url ?? env['MILLIBOX_URL'] ?? DEFAULT_URL).split(',');
  if (urls.length === 0) throw new TypeError('no address of a gateway');
  return {
    urls: [...new Set(urls.map(readUrl))],
    apiKey: given.apiKey ?? env['MILLIBOX_API_KEY'] ?? undefined,
    userAgent: `millibox-sdk/${packageVersion()} node/${process.versions.node}`,
  };
}

function readUrl(text: string): string {
  const url = URL.parse(text.trim());
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw new TypeError(`the address of a gateway is to begin with http:// or https://, and this does not: ${text}`);
  }
  return (url.origin + url.pathname).replace(/\/+$/, '');
}
