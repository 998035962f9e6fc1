/** File calls over plain HTTP, for networks that block WebSockets. */
import { asError } from '../lib/deadline.ts';
import { FileStat } from '../protocol/files.ts';
import { ServiceError } from '../protocol/errors.ts';
import type { Json } from '../mux/index.ts';
import { read } from './answer.ts';
import type { Download, FileRequest, FileTransport } from './files-over-streams.ts';
import type { CallOptions, HttpClient, Query } from './http.ts';
import type { Source } from './source.ts';

const NO_BYTES: Omit<Download, 'answer'> = { next: () => Promise.resolve(null), stop: () => undefined };

export class FilesOverHttp implements FileTransport {
  readonly #http: HttpClient;
  readonly #base: string;

  constructor(http: HttpClient, sandbox: string) {
    this.#http = http;
    this.#base = `/v1/sandboxes/${encodeURIComponent(sandbox)}/files`;
  }

  async ask(request: FileRequest, idempotent: boolean, options: CallOptions): Promise<Json> {
    const { call, ...fields } = request;
    if (call === 'list' || call === 'stat') {
      return (await this.#http.json({
        method: 'GET',
        path: `${this.#base}/${call}`,
        query: queryOf(fields),
        ...options,
      })) as Json;
    }
    if (call === 'remove') {
      await this.#http.json({ method: 'DELETE', path: this.#base, query: queryOf(fields), idempotent, ...options });
      return {};
    }
    const path = `${this.#base}/${call}`;
    await this.#http.json({ method: 'POST', path, body: fields, idempotent, ...options });
    return {};
  }

  async download(request: FileRequest, signal: AbortSignal | undefined): Promise<Download> {
    if (request.call === 'tar-read') return { answer: {}, ...(await this.#bytes('/tar', request.path, {}, signal)) };
    if (request.call !== 'read') throw new ServiceError('not_supported');
    const { path, offset = 0, length } = request;
    const answer = await this.ask({ call: 'stat', path }, true, { signal });
    const { sizeBytes } = read(FileStat, answer);
    if (length === 0 || (offset > 0 && offset === sizeBytes)) return { answer, ...NO_BYTES };
    const whole = offset === 0 && length === undefined;
    const last = length === undefined ? '' : String(offset + length - 1);
    const range = whole ? {} : { range: `bytes=${offset}-${last}` };
    return { answer, ...(await this.#bytes('', path, range, signal)) };
  }

  async upload(
    request: FileRequest,
    source: Source,
    { size, signal }: { size?: number | undefined; signal?: AbortSignal | undefined },
  ): Promise<FileStat | undefined> {
    const { call, size: _size, mode, ...fields } = request as FileRequest & { size?: number; mode?: number };
    const path = call === 'tar-write' ? `${this.#base}/tar` : this.#base;
    const query = queryOf({ ...fields, mode: mode?.toString(8) });
    const idempotent = call !== 'write' || request.append !== true;
    const answer = await this.#http.upload({ path, query, source, size, signal, idempotent });
    return call === 'tar-write' ? undefined : read(FileStat, answer);
  }

  async #bytes(
    below: string,
    file: string,
    headers: Record<string, string>,
    signal: AbortSignal | undefined,
  ): Promise<Omit<Download, 'answer'>> {
    const path = `${this.#base}${below}`;
    const body = await this.#http.stream({ method: 'GET', path, query: queryOf({ path: file }), headers, signal });
    const chunks = body.bytes[Symbol.asyncIterator]();
    return {
      next: async () => {
        try {
          const chunk = await chunks.next();
          return chunk.done ? null : chunk.value;
        } catch (error) {
          if (signal?.aborted) throw asError(signal.reason);
          throw new ServiceError('interrupted', 'the answer broke off', { cause: error });
        }
      },
      stop: () => body.stop(),
    };
  }
}

function queryOf(fields: object): Query {
  return Object.entries(fields).map(([name, value]) => [name, value === undefined ? undefined : String(value)]);
}
