/** Answers to input that is not HTTP, or whose head is too large. */
import { STATUS_CODES, type IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { ServiceError } from '../../protocol/errors.ts';
import { newRequestId } from '../../protocol/ids.ts';
import { errorBody } from './errors.ts';

/** The latest request of each connection. */
const latest = new WeakMap<Duplex, IncomingMessage>();

/** To be called for every request, so that no answer to what follows it can be taken for its own. */
export function noteRequest(request: IncomingMessage): void {
  latest.set(request.socket, request);
}

/** Answers with a typed error and hangs up; only hangs up where that answer could be taken for that of another request. */
export function refuseInput(error: NodeJS.ErrnoException, socket: Duplex & { bytesWritten?: number }): void {
  const followsAnother = latest.get(socket)?.complete === true || (socket.bytesWritten ?? 0) > 0;
  if (error.code === 'ECONNRESET' || !socket.writable || followsAnother) return void socket.destroy();
  const failure = new ServiceError(error.code === 'HPE_HEADER_OVERFLOW' ? 'body_too_large' : 'invalid_request');
  const body = JSON.stringify(errorBody(failure, newRequestId()));
  socket.end(
    `HTTP/1.1 ${failure.httpStatus} ${STATUS_CODES[failure.httpStatus]}\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}
