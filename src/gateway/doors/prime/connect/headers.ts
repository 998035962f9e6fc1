/** Accepts Connect headers from clients that are less strict about them than the protocol. */
import type { IncomingHttpHeaders } from 'node:http';
import { protocolVersion } from '@connectrpc/connect/protocol-connect';
import { MAX_TIMER_MS } from '../../../../lib/deadline.ts';

const VERSION = 'connect-protocol-version';
const TIMEOUT = 'connect-timeout-ms';

/**
 * Normalises the headers in place. Values that are not a version or a number stay as they are, and are refused later.
 */
export function relaxHeaders(headers: IncomingHttpHeaders): void {
  // A client that states no version speaks the only one there is.
  headers[VERSION] ??= protocolVersion;
  const timeout = headers[TIMEOUT];
  if (typeof timeout === 'string') headers[TIMEOUT] = wholeTimeout(timeout);
}

/** Clients multiply the seconds they were given by a thousand: `1500.0`, or years. */
function wholeTimeout(text: string): string {
  if (/^\d{1,9}$/.test(text) || !/^\d+(\.\d*)?$/.test(text)) return text;
  return String(Math.min(MAX_TIMER_MS, Math.ceil(Number(text))));
}
