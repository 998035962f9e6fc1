/** File calls of one sandbox, over the WebSocket or plain HTTP. */
import type { FileStat } from '../protocol/files.ts';
import type { Json } from '../mux/index.ts';
import { NoWebSocket } from './connection.ts';
import { needsWebSocket } from './errors.ts';
import { FilesOverHttp } from './files-over-http.ts';
import { FilesOverStreams, type Download, type FileQuestion, type FileWay } from './files-over-streams.ts';
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

export class FileCalls implements FileWay {
  readonly #deps: FileDeps;

  constructor(deps: FileDeps) {
    this.#deps = deps;
  }

  ask(question: FileQuestion, again: boolean, options: CallOptions): Promise<Json> {
    return this.#way(options, (way) => way.ask(question, again, options));
  }

  download(question: FileQuestion, signal: AbortSignal): Promise<Download> {
    return this.#way({ signal }, (way) => way.download(question, signal));
  }

  upload(
    question: FileQuestion,
    source: Source,
    options: { size?: number | undefined; signal?: AbortSignal | undefined },
  ): Promise<FileStat | undefined> {
    return this.#way({ signal: options.signal }, (way) => way.upload(question, source, options));
  }

  /** @throws ServiceError `not_supported` without a WebSocket. */
  async *watch(question: Json, signal: AbortSignal | undefined): AsyncGenerator<FileChange> {
    const sandbox = await idOf(this.#deps.sandbox, { signal });
    try {
      yield* watch(this.#deps.streams, { op: 'file', sandbox, call: 'watch', ...question }, signal);
    } catch (error) {
      throw error instanceof NoWebSocket ? needsWebSocket('watching files', error) : error;
    }
  }

  /**
   * Over the WebSocket or, without one, over HTTP. Nothing has been sent when the WebSocket turns out to be blocked.
   */
  async #way<T>(limits: CallOptions, call: (way: FileWay) => Promise<T>): Promise<T> {
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
