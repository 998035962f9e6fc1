/**
 * How long to retry a service that cannot be reached. One that has answered before is expected to come back. One that
 * never has may not exist, and then its user should learn that soon.
 */
import { asError } from '../lib/deadline.ts';
import { ServiceError } from '../protocol/errors.ts';
import type { Endpoints } from './endpoints.ts';

export interface Patience {
  /** For an outage. */
  patienceMs: number;
  /** For a service that has never answered this client, when nothing suggests that there is one. */
  firstPatienceMs: number;
}

const DEFAULT_PATIENCE: Patience = { patienceMs: 30_000, firstPatienceMs: 2_000 };

/** @param givenMs the caller's choice, used for both */
export const patienceOf = (givenMs?: number): Patience =>
  givenMs === undefined ? DEFAULT_PATIENCE : { patienceMs: givenMs, firstPatienceMs: givenMs };

export class Outage {
  readonly #patience: Patience;
  readonly #endpoints: Endpoints;
  readonly #since = performance.now();
  /** Every failure so far suggests a wrong address. */
  #hopeless = true;

  constructor(patience: Patience, endpoints: Endpoints) {
    this.#patience = patience;
    this.#endpoints = endpoints;
  }

  /** Whether another attempt is due, after this pause and this failure to connect to `url`. */
  outlasts(pauseMs: number, error: unknown, url: string): boolean {
    if (!isHopeless(error, url)) this.#hopeless = false;
    const never = this.#hopeless && !this.#endpoints.answered;
    const { patienceMs, firstPatienceMs } = this.#patience;
    return performance.now() + pauseMs <= this.#since + (never ? firstPatienceMs : patienceMs);
  }
}

/**
 * Nothing listens on this machine, or the host does not exist. A refusal by another machine may come from a load
 * balancer whose servers are restarting.
 */
function isHopeless(error: unknown, url: string): boolean {
  const code = codeOf(error);
  return code === 'ENOTFOUND' || (code === 'ECONNREFUSED' && isLoopback(url));
}

export function isLoopback(url: string): boolean {
  const { hostname } = new URL(url);
  return hostname === 'localhost' || hostname === '[::1]' || hostname.startsWith('127.');
}

/** No connection was made, so nothing was sent. */
export function isUnconnected(error: unknown): boolean {
  const code = codeOf(error);
  return code !== undefined && UNCONNECTED.has(code);
}

const UNCONNECTED: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'UND_ERR_CONNECT_TIMEOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
]);

const codeOf = (error: unknown): string | undefined => {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : undefined;
};

/** `node_unavailable`, with what to look at next. */
export function unreachable(error: unknown, url: string): ServiceError {
  const { message } = asError(error);
  const code = codeOf(error) ?? '';
  if (code === 'ERR_SSL_WRONG_VERSION_NUMBER' || (code === 'EPROTO' && message.includes('wrong version number'))) {
    return because(
      `the server at ${url} does not speak TLS: should the address begin with http:// (MILLIBOX_URL)?`,
      error,
    );
  }
  if (UNTRUSTED.has(code)) {
    const next = 'NODE_EXTRA_CA_CERTS names a file with the certificates that are trusted as well';
    return because(`the certificate of ${url} is not trusted (${message.trim()}): ${next}`, error);
  }
  const what = { ECONNREFUSED: `nothing listens at ${url}`, ENOTFOUND: `the host name in ${url} is unknown` };
  const known = what[code as keyof typeof what];
  if (known === undefined) return because(`the service cannot be reached at ${url}: ${message.trim()}`, error);
  return because(`${known}: is the service up, and is this its address (MILLIBOX_URL)?`, error);
}

const UNTRUSTED: ReadonlySet<string> = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]);

const because = (message: string, cause: unknown): ServiceError =>
  new ServiceError('node_unavailable', message, { cause });
