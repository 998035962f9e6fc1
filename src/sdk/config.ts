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

/** @throws TypeError when an address is not one of HTTP, or there is none, or the key is none that can be sent. */
export function loadConfig(given: Given): ClientConfig {
  const env = process.env;
  const urls = given.urls ?? (given.url ?? env['MILLIBOX_URL'] ?? DEFAULT_URL).split(',');
  const apiKey = given.apiKey ?? env['MILLIBOX_API_KEY'];
  if (urls.length === 0) throw new TypeError('no address of a gateway');
  return {
    urls: [...new Set(urls.map(readUrl))],
    apiKey: apiKey === undefined ? undefined : readKey(apiKey),
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

/** Without the line end of the file that it was read from. @throws TypeError when no header can carry it. */
export function readKey(text: string): string {
  const key = text.trim();
  if (!/^[\x21-\x7e]*$/.test(key)) {
    throw new TypeError('the API key has characters that no key has, such as a space or a line end within');
  }
  return key;
}
