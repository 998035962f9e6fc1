/** Headers of the Connect protocol, where clients of this wire take them less strictly than the protocol does. */
import type { IncomingHttpHeaders } from 'node:http';
import { protocolVersion } from '@connectrpc/connect/protocol-connect';

const VERSION = 'connect-protocol-version';
const TIMEOUT = 'connect-timeout-ms';
/** A timer of Node that is to take longer fires at once, and the command would have timed out before it began. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Puts them right in place. What is no version or no number stays as it is, and is refused. */
export function relaxHeaders(headers: IncomingHttpHeaders): void {
  // One that says no version speaks the only one that there is; another version is refused.
  headers[VERSION] ??= protocolVersion;
  const timeout = headers[TIMEOUT];
  if (typeof timeout === 'string') headers[TIMEOUT] = wholeTimeout(timeout);
}

/** Clients send the seconds that they were given times a thousand, whatever they were: `1500.0`, or years. */
function wholeTimeout(text: string): string {
  if (/^\d{1,9}$/.test(text) || !/^\d+(\.\d*)?$/.test(text)) return text;
  return String(Math.min(LONGEST_TIMER_MS, Math.ceil(Number(text))));
}
