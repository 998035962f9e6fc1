/** Raw HTTP calls, without any correction on their way. */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { Agent, request, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';

const LIMIT_MS = 60_000;

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

export interface Call {
  method?: string;
  headers?: Record<string, string>;
  body?: string | Uint8Array | AsyncIterable<Uint8Array>;
}

export async function ask(url: string, { method = 'POST', headers = {}, body = '' }: Call = {}): Promise<Answer> {
  const length = typeof body === 'string' || body instanceof Uint8Array ? Buffer.byteLength(body) : null;
  const call = request(url, {
    method,
    headers: { connection: 'keep-alive', ...(length === null ? {} : { 'content-length': length }), ...headers },
    agent: new Agent({ keepAlive: true, maxSockets: 1, timeout: LIMIT_MS }),
  });
  const answered = once(call, 'response') as Promise<[IncomingMessage]>;
  answered.catch(() => undefined);
  call.on('error', () => undefined);
  if (typeof body === 'string' || body instanceof Uint8Array) call.end(body);
  else {
    for await (const piece of body) if (!call.write(piece)) await once(call, 'drain');
    call.end();
  }
  const [response] = await answered;
  const pieces: Buffer[] = [];
  for await (const piece of response) pieces.push(piece as Buffer);
  call.destroy();
  return { status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(pieces) };
}

/** A multipart body of one file. */
export function multipart(content: Uint8Array, name = 'f'): { type: string; body: Buffer } {
  const boundary = randomUUID();
  const head = `--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="${name}"\r\n\r\n`;
  const body = Buffer.concat([Buffer.from(head), content, Buffer.from(`\r\n--${boundary}--\r\n`)]);
  return { type: `multipart/form-data; boundary=${boundary}`, body };
}
