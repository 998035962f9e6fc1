/** File calls as streams of the client's WebSocket, one each, at the reader's pace. */
import { asError } from '../lib/deadline.ts';
import * as z from 'zod';
import { FileStat, type FileCall } from '../protocol/files.ts';
import { ServiceError } from '../protocol/errors.ts';
import { Channel } from '../protocol/frames.ts';
import type { Json, MuxStream } from '../mux/index.ts';
import { Chunks } from './chunks.ts';
import type { CallOptions } from './http.ts';
import type { Source } from './source.ts';
import { ask, openStream, sendAll, type Streams } from './unary.ts';

/** The request: a `FileCall` in its wire form. */
export type FileRequest = FileCall & Json;

export interface Download {
  answer: Json;
  /** The next bytes, or null at the end. @throws ServiceError `interrupted` when it broke off. */
  next(): Promise<Buffer | null>;
  /** Ends it, unless it has ended. */
  stop(): void;
}

/** A transport for the file calls of one sandbox. All methods throw ServiceError. */
export interface FileTransport {
  /** @param idempotent whether to retry when it is unknown whether the request arrived */
  ask(request: FileRequest, idempotent: boolean, options: CallOptions): Promise<Json>;
  download(request: FileRequest, signal: AbortSignal | undefined): Promise<Download>;
  /** The file that was written, if the call writes one. */
  upload(
    request: FileRequest,
    source: Source,
    options: { size?: number | undefined; signal?: AbortSignal | undefined },
  ): Promise<FileStat | undefined>;
}

const Done = z.object({ type: z.literal('done'), stat: FileStat.optional() });

export class FilesOverStreams implements FileTransport {
  readonly #streams: Streams;
  readonly #sandbox: string;

  constructor(streams: Streams, sandbox: string) {
    this.#streams = streams;
    this.#sandbox = sandbox;
  }

  ask(request: FileRequest, idempotent: boolean, options: CallOptions): Promise<Json> {
    return ask(this.#streams, this.#openPayload(request), idempotent, options);
  }

  async download(request: FileRequest, signal: AbortSignal | undefined): Promise<Download> {
    const opened = Promise.withResolvers<Json>();
    const chunks = new Chunks();
    let stream: MuxStream | null = null;
    const opening = openStream(this.#streams, this.#openPayload(request), signal, {
      opened: (answer) => opened.resolve(answer),
      data: (_channel, bytes) => chunks.push(bytes, { consume: (n) => stream?.consume(n) }),
      fin: (channel) => {
        if (channel === Channel.ALL) chunks.end(null);
      },
      closed: (error) => {
        opened.reject(error ?? new ServiceError('interrupted'));
        chunks.end(error);
      },
    });
    opening.then(
      (it) => {
        stream = it;
        it.end();
      },
      (error: unknown) => opened.reject(asError(error)),
    );
    const answer = await opened.promise;
    const stop = (): void => stream?.reset(new ServiceError('cancelled'));
    return { answer, next: () => chunks.next(), stop };
  }

  async upload(
    request: FileRequest,
    source: Source,
    { signal }: { signal?: AbortSignal | undefined },
  ): Promise<FileStat | undefined> {
    const closed = Promise.withResolvers<FileStat | undefined>();
    closed.promise.catch(() => undefined);
    let done: z.infer<typeof Done> | null = null;
    const stream = await openStream(this.#streams, this.#openPayload(request), signal, {
      data: () => undefined,
      event: (message) => {
        const parsed = Done.safeParse(message);
        if (parsed.success) done = parsed.data;
      },
      closed: (error) => {
        if (error !== null) closed.reject(error);
        else if (done === null) closed.reject(new ServiceError('interrupted', 'the write was not confirmed'));
        else closed.resolve(done.stat);
      },
    });
    try {
      await sendAll(stream, source);
    } catch (error) {
      // The source failed: a partial upload must not become the file.
      stream.reset(new ServiceError('cancelled'));
      throw error;
    }
    stream.end();
    return await closed.promise;
  }

  #openPayload(request: FileRequest): Json {
    return { op: 'file', sandbox: this.#sandbox, ...request };
  }
}
