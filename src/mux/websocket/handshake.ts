/** The HTTP upgrade of RFC 6455, both sides. No extensions are offered or accepted. */
import { createHash, randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import https from 'node:https';
import type net from 'node:net';
import type { Duplex } from 'node:stream';
import type { ConnectionOptions } from 'node:tls';
import { asError } from '../../lib/deadline.ts';
import { ServiceError } from '../../protocol/errors.ts';
import type { Transport } from '../types.ts';
import { webSocketTransport } from './transport.ts';

// An import has Node make every export of it, its whole fetch among them: tens of milliseconds of each command of the CLI.
const http = process.getBuiltinModule('node:http');

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const acceptOf = (key: string): string =>
  createHash('sha1')
    .update(key + GUID)
    .digest('base64');

/**
 * Answers an upgrade request and returns the transport. Check who asks before: this only looks at the handshake.
 * @param socket as the `upgrade` event of an HTTP server gives it
 * @throws ServiceError `invalid_request` when it is no handshake, or none of this subprotocol. Nothing is written then.
 */
export function acceptWs(request: IncomingMessage, socket: Duplex, head: Uint8Array, subprotocol: string): Transport {
  const { headers } = request;
  const key = headers['sec-websocket-key'];
  const problem =
    request.method !== 'GET' || headers.upgrade?.toLowerCase() !== 'websocket'
      ? 'not a WebSocket handshake'
      : headers['sec-websocket-version'] !== '13'
        ? 'WebSocket version 13 is needed'
        : key === undefined || !/^[+/0-9A-Za-z]{22}==$/.test(key)
          ? 'the handshake has no valid key'
          : !offered(headers['sec-websocket-protocol']).includes(subprotocol)
            ? `the subprotocol ${subprotocol} is needed`
            : undefined;
  if (problem !== undefined || key === undefined) throw new ServiceError('invalid_request', problem);
  socket.write(
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
      `Sec-WebSocket-Accept: ${acceptOf(key)}\r\nSec-WebSocket-Protocol: ${subprotocol}\r\n\r\n`,
  );
  return webSocketTransport({ socket: socket as net.Socket, head, side: 'server' });
}

const offered = (header: string | undefined): string[] => (header ?? '').split(',').map((name) => name.trim());

export interface DialOptions {
  subprotocol: string;
  headers?: Record<string, string>;
  /** Until the upgrade is answered. */
  deadlineMs: number;
  signal?: AbortSignal | undefined;
  /** On paths without old proxies: a mask of zeros costs nothing. */
  maskWithZeros?: boolean;
  tls?: ConnectionOptions;
}

/** The server answered, but not with an upgrade: its status and the start of its body. */
export class UpgradeRefused extends Error {
  override readonly name = 'UpgradeRefused';
  readonly status: number;
  readonly body: string;

  constructor(status: number, body: string) {
    super(`the server answered the WebSocket upgrade with ${status}`);
    this.status = status;
    this.body = body;
  }
}

const MAX_REFUSAL_BYTES = 64 * 1024;

/**
 * A transport over a WebSocket to `url` (ws:, wss:, http: or https:, or `ws+unix:///path/of/socket:/path/of/request`).
 * @throws UpgradeRefused, ServiceError `deadline_exceeded`, the signal's reason, or the socket's error.
 */
export function dialWs(url: string, options: DialOptions): Promise<Transport> {
  const { signal, deadlineMs, subprotocol } = options;
  if (signal?.aborted) return Promise.reject(asError(signal.reason));
  const done = Promise.withResolvers<Transport>();
  const key = randomBytes(16).toString('base64');
  const { target, socketPath } = targetOf(url);
  const secure = target.protocol === 'https:';
  const request = (secure ? https : http).request(target, {
    ...(socketPath === undefined ? {} : { socketPath }),
    // A connection of its own: it is a socket, not a request, that is wanted.
    agent: false,
    ...(secure ? options.tls : {}),
    headers: {
      ...options.headers,
      Connection: 'Upgrade',
      Upgrade: 'websocket',
      'Sec-WebSocket-Key': key,
      'Sec-WebSocket-Version': '13',
      'Sec-WebSocket-Protocol': subprotocol,
    },
  });
  const fail = (error: Error): void => {
    done.reject(error);
    request.destroy();
  };
  const timer = setTimeout(() => {
    fail(new ServiceError('deadline_exceeded', `no WebSocket within ${deadlineMs} ms`));
  }, deadlineMs);
  const onAbort = (): void => fail(asError(signal?.reason));
  signal?.addEventListener('abort', onAbort, { once: true });
  request.on('error', (error) => done.reject(error));
  request.once('response', (response) => {
    void readStart(response).then((body) => fail(new UpgradeRefused(response.statusCode ?? 0, body)));
  });
  request.once('upgrade', (response, socket, head) => {
    if (response.headers['sec-websocket-accept'] !== acceptOf(key)) {
      return fail(new ServiceError('protocol_error', 'the server answered another handshake'));
    }
    if (response.headers['sec-websocket-protocol'] !== subprotocol) {
      return fail(new ServiceError('protocol_error', `the server does not speak ${subprotocol}`));
    }
    const { maskWithZeros = false } = options;
    done.resolve(webSocketTransport({ socket: socket as net.Socket, head, side: 'client', maskWithZeros }));
  });
  request.end();
  return done.promise.finally(() => {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  });
}

function targetOf(url: string): { target: URL; socketPath?: string } {
  const local = /^ws\+unix:\/\/(\/[^:]+):(\/.*)$/.exec(url);
  if (local === null) return { target: new URL(url.replace(/^ws/, 'http')) };
  const [, socketPath = '', path = '/'] = local;
  return { target: new URL(path, 'http://localhost'), socketPath };
}

/** Resolves with what there is when the answer ends, breaks off or is long enough. */
function readStart(response: IncomingMessage): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  const chunks: Buffer[] = [];
  let bytes = 0;
  const finish = (): void => resolve(Buffer.concat(chunks).toString('utf8'));
  response.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > MAX_REFUSAL_BYTES) finish();
  });
  response.on('error', finish);
  response.on('close', finish);
  return promise;
}
