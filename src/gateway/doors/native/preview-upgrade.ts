/** WebSockets and other upgrades to a port inside. The connection belongs to the server only after its 101. */
import { request as httpRequest, STATUS_CODES, type IncomingMessage } from 'node:http';
import { pipeline, type Duplex } from 'node:stream';
import { ServiceError } from '../../../protocol/errors.ts';
import { newRequestId } from '../../../protocol/ids.ts';
import { refuseUpgrade } from '../../http/upgrade.ts';
import type { Services } from '../../services.ts';
import { authenticate, headersFor, isPreview, targetOf, type Access, type Target } from './preview-access.ts';
import { answerHeaders, baseOf } from './preview-answer.ts';

/** Bytes that a client may send before the answer. More waits in its own socket. */
const MAX_EARLY_BYTES = 64 * 1024;

/** Returns true if the upgrade is for a port, and then owns the socket. */
export function upgradePreview(services: Services, request: IncomingMessage, socket: Duplex, head: Buffer): boolean {
  if (!isPreview(request.url)) return false;
  tunnel(services, request, socket, head).catch((error: unknown) => {
    refuseUpgrade(socket, ServiceError.from(error), newRequestId());
  });
  return true;
}

async function tunnel(services: Services, request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
  const target = targetOf(request.url);
  const access = authenticate(services, request.headers, target);
  const gone = new AbortController();
  const early = listenAhead(socket, head, () => gone.abort(new ServiceError('cancelled')));
  const inside = await services.ports.connect(access.tenant, target.sandbox, target.port, gone.signal);
  // The client may have gone meanwhile: then nobody would close the new connection.
  if (gone.signal.aborted) inside.destroy();
  gone.signal.addEventListener('abort', () => inside.destroy());
  closeWithKey(services.auth, access, inside);
  const headers = headersFor(request.headers, target, access);
  // What follows the head belongs to the requested protocol; it is not a body.
  delete headers['content-length'];
  const asked = { ...headers, connection: 'Upgrade', upgrade: request.headers.upgrade ?? 'websocket' };
  const { answer, rest } = await askUpgrade(inside, request.method ?? 'GET', target, asked);
  const answered = answerHeaders(answer.headers, target, baseOf(target, request.headers.host, services.ports.domain));
  if (rest === null) return refused(socket, answer, answered);
  const first = early();
  const upgrade = { connection: 'Upgrade', upgrade: answer.headers.upgrade ?? asked.upgrade };
  socket.write(headOf(101, { ...answered, ...upgrade }), 'latin1');
  if (rest.length > 0) socket.write(rest);
  if (first.length > 0) inside.write(first);
  pipeline(inside, socket, () => undefined);
  pipeline(socket, inside, () => undefined);
}

/** Ends the connection when the key that opened it is revoked. */
function closeWithKey(auth: Services['auth'], { caller }: Access, inside: Duplex): void {
  if (caller === undefined) return;
  const check = (): void => {
    if (!auth.isValid(caller)) inside.destroy(new ServiceError('unauthenticated', 'the API key was revoked'));
  };
  inside.once('close', auth.onReplace(check));
  // It may have been revoked while the sandbox was waited for.
  check();
}

/**
 * Keeps what the client sends before it is answered: its end is noticed only by reading, and the server inside may
 * never answer.
 * @param gone called when the client has gone
 * @returns takes what was kept, and leaves the rest to whoever reads the socket next
 */
function listenAhead(socket: Duplex, head: Buffer, gone: () => void): () => Buffer {
  const early = [head];
  let bytes = head.length;
  const keep = (chunk: Buffer): void => {
    early.push(chunk);
    bytes += chunk.length;
    if (bytes >= MAX_EARLY_BYTES) socket.pause();
  };
  socket.on('data', keep).once('end', gone).once('close', gone);
  return () => {
    socket.off('data', keep).off('end', gone).pause();
    return Buffer.concat(early);
  };
}

/**
 * Resolves with the answer and the bytes that followed a 101; `rest` is null for any other status.
 * @throws ServiceError
 */
function askUpgrade(
  inside: Duplex,
  method: string,
  { path }: Target,
  headers: Record<string, string | string[]>,
): Promise<{ answer: IncomingMessage; rest: Buffer | null }> {
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest({ createConnection: () => inside, method, path, headers });
    outgoing.once('upgrade', (answer, _inside, rest) => resolve({ answer, rest }));
    outgoing.once('response', (answer) => resolve({ answer, rest: null }));
    outgoing.on('error', (cause) => {
      inside.destroy();
      const error = new ServiceError('port_refused', 'the server on this port does not speak HTTP', { cause });
      reject(cause instanceof ServiceError ? cause : error);
    });
    outgoing.end();
  });
}

/**
 * Forwards the answer of a server that declined the upgrade, and closes the connection: a proxy in front of the gateway
 * could otherwise reuse it for plain HTTP and send other clients' requests over it.
 */
function refused(socket: Duplex, answer: IncomingMessage, headers: Record<string, string | string[]>): void {
  const status = answer.statusCode ?? 0;
  if (status < 200 || status > 599) {
    answer.destroy();
    throw new ServiceError('port_refused', `the server on this port answered with an invalid status: ${status}`);
  }
  socket.write(headOf(status, { ...headers, connection: 'close' }), 'latin1');
  pipeline(answer, socket, () => socket.destroy());
}

/** Node has parsed these headers as latin1, and none of them contains a line break. */
function headOf(status: number, headers: Record<string, string | string[]>): string {
  const lines = [`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Unknown'}`];
  for (const [name, value] of Object.entries(headers)) {
    for (const one of [value].flat()) lines.push(`${name}: ${one}`);
  }
  return `${lines.join('\r\n')}\r\n\r\n`;
}
