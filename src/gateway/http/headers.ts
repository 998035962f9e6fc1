/**
 * Our own headers, and request headers that would change what a request means: those are refused, as nothing implements
 * them.
 */
import type { IncomingMessage } from 'node:http';
import { ServiceError } from '../../protocol/errors.ts';

/** Set on an answer about all sandboxes or nodes while some are not known here. */
export const INCOMPLETE = 'x-millibox-incomplete';

/**
 * Conditions on a call. A client that revalidates a cached copy accepts a full answer as well, so those are ignored.
 */
const CONDITIONS = ['if-match', 'if-unmodified-since'] as const;
const CONDITION_OF_A_WRITE = 'if-none-match';

/**
 * An encoded body would be stored or run as other bytes than were meant; a write whose condition is ignored would
 * overwrite what the condition protects.
 * @throws ServiceError `invalid_request`
 */
export function refuseUnsupported({ method, headers }: Pick<IncomingMessage, 'method' | 'headers'>): void {
  const coding = headers['content-encoding'] ?? 'identity';
  const transfer = headers['transfer-encoding'] ?? 'chunked';
  if (coding.toLowerCase() !== 'identity' || transfer.toLowerCase() !== 'chunked') {
    throw new ServiceError('invalid_request', 'the body must be sent as it is, without Content-Encoding');
  }
  const isRead = method === 'GET' || method === 'HEAD';
  for (const name of isRead ? CONDITIONS : [...CONDITIONS, CONDITION_OF_A_WRITE]) {
    if (headers[name] === undefined) continue;
    throw new ServiceError('invalid_request', `the condition ${name} is not supported; nothing was done`);
  }
}

/**
 * Servers differ in which of two Host headers they use, and the header may name a sandbox's port.
 * @throws ServiceError `invalid_request`
 */
export function assertOneHost({ headers, rawHeaders, httpVersion }: IncomingMessage): void {
  let hosts = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at]!;
    if (name.length === 4 && name.toLowerCase() === 'host') hosts += 1;
  }
  if (hosts > 1) throw new ServiceError('invalid_request', 'there is more than one Host header');
  if (headers.host === undefined && httpVersion !== '1.0') {
    throw new ServiceError('invalid_request', 'the Host header is missing');
  }
}
