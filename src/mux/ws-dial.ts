/** Dialling a WebSocket that will carry frames. */
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { WebSocket, type ClientOptions } from 'ws';
import { ServiceError } from '../protocol/errors.ts';
import { WS_OPTIONS, wsTransport, zeroMask } from './ws-transport.ts';
import type { Transport } from './types.ts';

export interface DialOptions {
  subprotocol: string;
  headers?: Record<string, string>;
  /** Until the upgrade is answered. */
  deadlineMs: number;
  signal?: AbortSignal | undefined;
  /** Masks exist to protect old proxies from scripts in browsers: on a path without those, zeros do and cost nothing. */
  maskWithZeros?: boolean;
  /** More for `ws`: TLS, agent, and so on. */
  ws?: ClientOptions;
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
 * A transport over a WebSocket that is open. The first frames of the peer may come in the same read as its upgrade, so
 * a socket that is awaited and wrapped afterwards would lose them: here nothing is lost.
 * @throws UpgradeRefused, ServiceError `deadline_exceeded`, the signal's reason, or the socket's error.
 */
export function dialWs(url: string, options: DialOptions): Promise<Transport> {
  const done = Promise.withResolvers<Transport>();
  if (options.signal?.aborted) return Promise.reject(asError(options.signal.reason));
  const ws = new WebSocket(url, [options.subprotocol], {
    ...WS_OPTIONS,
    ...(options.maskWithZeros ? { generateMask: zeroMask } : {}),
    ...options.ws,
    headers: { ...options.headers },
  });
  const fail = (error: Error): void => {
    done.reject(error);
    ws.terminate();
  };
  const timer = setTimeout(() => {
    fail(new ServiceError('deadline_exceeded', `no WebSocket within ${options.deadlineMs} ms`));
  }, options.deadlineMs);
  const onAbort = (): void => fail(asError(options.signal?.reason));
  options.signal?.addEventListener('abort', onAbort, { once: true });
  ws.on('error', (error) => done.reject(error));
  ws.once('close', () => done.reject(new Error('the WebSocket closed before it was open')));
  let socket: Socket | undefined;
  ws.once('upgrade', (response) => (socket = response.socket));
  ws.once('open', () => done.resolve(wsTransport(ws, socket)));
  ws.once('unexpected-response', (_request, response) => {
    void readStart(response).then((body) => fail(new UpgradeRefused(response.statusCode ?? 0, body)));
  });
  return done.promise.finally(() => {
    clearTimeout(timer);
    options.signal?.removeEventListener('abort', onAbort);
  });
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

const asError = (reason: unknown): Error => (reason instanceof Error ? reason : new ServiceError('cancelled'));
