/** File calls of one sandbox, over the WebSocket or plain HTTP. */
import type { FileStat } from '../protocol/files.ts';
import type { Json } from '../mux/index.ts';
import { NoWebSocket } from './connection.ts';
import { needsWebSocket } from './errors.ts';
import { FilesOverHttp } from './files-over-http.ts';
import { FilesOverStreams, type Download, type FileRequest, type FileTransport } from './files-over-streams.ts';
import type { CallOptions, HttpClient } from './http.ts';
import { idOf } from './sandbox-id.ts';
import type { Source } from './source.ts';
import type { Streams } from './unary.ts';
import { watch, type FileChange } from './watch.ts';

export interface FileDeps {
  streams: Streams;
  /** Used where WebSockets are blocked. */
  http: HttpClient;
  /** A promise while the sandbox is being created. */
  sandbox: string | Promise<string>;
}

export class FileCalls implements FileTransport {
  readonly #deps: FileDeps;

  constructor(deps: FileDeps) {
    this.#deps = deps;
  }

  ask(request: FileRequest, idempotent: boolean, options: CallOptions): Promise<Json> {
    return this.#withTransport(options, (transport) => transport.ask(request, idempotent, options));
  }

  download(request: FileRequest, signal: AbortSignal): Promise<Download> {
    return this.#withTransport({ signal }, (transport) => transport.download(request, signal));
  }

  upload(
    request: FileRequest,
    source: Source,
    options: { size?: number | undefined; signal?: AbortSignal | undefined },
  ): Promise<FileStat | undefined> {
    return this.#withTransport({ signal: options.signal }, (transport) => transport.upload(request, source, options));
  }

  /** @throws ServiceError `not_supported` without a WebSocket. */
  async *watch(request: Json, signal: AbortSignal | undefined): AsyncGenerator<FileChange> {
    const sandbox = await idOf(this.#deps.sandbox, { signal });
    try {
      yield* watch(this.#deps.streams, { op: 'file', sandbox, call: 'watch', ...request }, signal);
    } catch (error) {
      throw error instanceof NoWebSocket ? needsWebSocket('watching files', error) : error;
    }
  }

  /**
   * Over the WebSocket or, without one, over HTTP. Nothing has been sent when the WebSocket turns out to be blocked.
   */
  async #withTransport<T>(limits: CallOptions, call: (transport: FileTransport) => Promise<T>): Promise<T> {
    const { streams, http } = this.#deps;
    const sandbox = await idOf(this.#deps.sandbox, limits);
    try {
      return await call(new FilesOverStreams(streams, sandbox));
    } catch (error) {
      if (!(error instanceof NoWebSocket)) throw error;
      return await call(new FilesOverHttp(http, sandbox));
    }
  }
}
