/** Where the service is and who we are, from the environment unless given. */
import { readFileSync } from 'node:fs';

export interface ClientConfig {
  /** Without a trailing slash. */
  url: string;
  apiKey: string | undefined;
  /** Shown to the server. */
  userAgent: string;
}

export const DEFAULT_URL = 'http://127.0.0.1:8700';

/** @throws TypeError when the URL is not one of HTTP. */
export function loadConfig(given: { url?: string | undefined; apiKey?: string | undefined }): ClientConfig {
  const env = process.env;
  const url = new URL(given.url ?? env['MILLIBOX_URL'] ?? DEFAULT_URL);
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw new TypeError(`not an HTTP address: ${url.href}`);
  return {
    url: (url.origin + url.pathname).replace(/\/+$/, ''),
    apiKey: given.apiKey ?? env['MILLIBOX_API_KEY'] ?? undefined,
    userAgent: `millibox-sdk/${version()} node/${process.versions.node}`,
  };
}

let known: string | undefined;
/** The package's own version: its package.json is two levels up in the sources, three in the build. */
function version(): string {
  if (known !== undefined) return known;
  known = '0';
  for (const up of ['../../package.json', '../../../package.json']) {
    try {
      const text = readFileSync(new URL(up, import.meta.url), 'utf8');
      const parsed = JSON.parse(text) as { name?: unknown; version?: unknown };
      if (parsed.name === 'millibox' && typeof parsed.version === 'string') return (known = parsed.version);
    } catch {
      // Not at this level.
    }
  }
  return known;
}
