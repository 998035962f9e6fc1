/** Refusing HTTP upgrades. */
import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { hangUp } from '../../lib/hang-up.ts';
import type { ServiceError } from '../../protocol/errors.ts';
import { errorBody, retryAfterSeconds } from './errors.ts';

/** Answers an upgrade with an error, as JSON, and closes. */
export function refuseUpgrade(socket: Duplex, error: ServiceError, requestId: string): void {
  const body = JSON.stringify(errorBody(error, requestId));
  const status = error.httpStatus;
  hangUp(
    socket,
    [
      `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Error'}`,
      'content-type: application/json; charset=utf-8',
      `content-length: ${Buffer.byteLength(body)}`,
      ...(error.retryAfterMs === undefined ? [] : [`retry-after: ${retryAfterSeconds(error.retryAfterMs)}`]),
      'connection: close',
      '',
      body,
    ].join('\r\n'),
  );
}
