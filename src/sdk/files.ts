/** Files of a sandbox, read and written inside it by its supervisor: no command is run for them. */
import * as z from 'zod';
import { FileEntry, FileStat, type FileCall } from '../protocol/files.ts';
import { ServiceError } from '../protocol/errors.ts';
import { Channel } from '../protocol/frames.ts';
import type { Json, MuxStream } from '../mux/index.ts';
import { Chunks } from './chunks.ts';
import { asError } from './errors.ts';
import type { CallOptions } from './http.ts';
import { ask, isCut, openStream, sendAll, type ByteSource, type Streams } from './unary.ts';
import { watch, type FileChange } from './watch.ts';

export interface RangeOptions extends CallOptions {
  /** First byte. */
  offset?: number;
  /** At most so many bytes. */
  length?: number;
}

export interface WriteOptions extends CallOptions {
  mode?: number;
  /** name, uid, name:group or uid:gid. */
  owner?: string;
  /** At the end of what is there, instead of in its place. */
  append?: boolean;
  /** Bytes that a stream will have: fewer or more is an error, and the old file stays. */
  size?: number;
}

export interface OwnerOptions extends CallOptions {
  mode?: number;
  owner?: string;
}

export interface WatchOptions {
  recursive?: boolean;
  signal?: AbortSignal;
}

export interface FileDeps {
  streams: Streams;
  /** A promise while the sandbox is being created. */
  sandbox: string | Promise<string>;
}

interface Download {
  answer: Json;
  chunks: Chunks;
  /** Ends it if it has not ended. */
  stop(): void;
}

type FileQuestion = FileCall & Json;

const ListPage = z.object({ entries: z.array(FileEntry), more: z.boolean().optional() });
const Done = z.object({ type: z.literal('done'), stat: FileStat.optional() });
/** `read` gathers in memory; `readStream` does not. */
const MAX_READ_BYTES = 1024 * 1024 * 1024;
const MAX_RESUMES = 8;

/** Paths are absolute, or relative to the image's WORKDIR. All calls throw ServiceError with a `file_…` code. */
export class Files {
  readonly #deps: FileDeps;

  constructor(deps: FileDeps) {
    this.#deps = deps;
  }

  /** The whole file, or a range of it. @throws `body_too_large` above 1 GiB: stream those. */
  async read(path: string, options: RangeOptions = {}): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of this.readStream(path, options)) {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > MAX_READ_BYTES) throw new ServiceError('body_too_large', 'read this file with readStream');
    }
    return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, bytes);
  }

  /** As UTF-8. */
  async readText(path: string, options: RangeOptions = {}): Promise<string> {
    return (await this.read(path, options)).toString('utf8');
  }

  /**
   * The file in pieces, at the reader's pace. Goes on at the same byte after a cut; a file that changed meanwhile ends
   * it with `interrupted`.
   */
  async *readStream(path: string, options: RangeOptions = {}): AsyncGenerator<Buffer> {
    let got = 0;
    let first: FileStat | null = null;
    for (let resumes = 0; ; resumes++) {
      const range: Json = {
        offset: (options.offset ?? 0) + got,
        ...(options.length === undefined ? {} : { length: options.length - got }),
      };
      const before = got;
      let download: Download | undefined;
      try {
        download = await this.#download({ call: 'read', path, ...range }, options.signal);
        const { answer, chunks } = download;
        const stat: FileStat = FileStat.parse(answer);
        if (first !== null && (first.modifiedAtMs !== stat.modifiedAtMs || first.sizeBytes !== stat.sizeBytes)) {
          throw new ServiceError('not_supported', 'the file changed while the link was down');
        }
        first = stat;
        for (let chunk = await chunks.next(); chunk !== null; chunk = await chunks.next()) {
          got += chunk.length;
          yield chunk;
        }
        return;
      } catch (error) {
        if (!isCut(error)) throw error;
        if (got > before) resumes = 0;
        if (resumes >= MAX_RESUMES) throw error;
      } finally {
        download?.stop();
      }
    }
  }

  /**
   * Writes under a temporary name and renames, so that no reader sees half a file. Parents are made. Bytes at hand are
   * written again after a cut; a stream cannot be, and fails with `interrupted`.
   */
  async write(path: string, data: ByteSource, options: WriteOptions = {}): Promise<FileStat> {
    const { mode, owner, append, signal } = options;
    const atHand = typeof data === 'string' || data instanceof Uint8Array;
    const size = atHand ? Buffer.byteLength(data as Uint8Array) : options.size;
    const call = { call: 'write', path, ...defined({ mode, owner, append, size }) } as FileQuestion;
    for (let tries = 1; ; tries++) {
      try {
        const done = await this.#upload(call, data, signal);
        return done ?? (await this.stat(path, { signal }));
      } catch (error) {
        if (!isCut(error) || !atHand || append || tries >= MAX_RESUMES) throw error;
      }
    }
  }

  /** A Node writable would have no way to tell of the end: give the source instead. Same as `write`. */
  writeStream(path: string, source: AsyncIterable<string | Uint8Array>, options: WriteOptions = {}): Promise<FileStat> {
    return this.write(path, source, options);
  }

  /** All entries, sorted as the supervisor reads them. For a directory of any size, use `entries`. */
  async list(path: string, options: CallOptions = {}): Promise<FileEntry[]> {
    const all: FileEntry[] = [];
    for await (const entry of this.entries(path, options)) all.push(entry);
    return all;
  }

  async *entries(path: string, options: CallOptions = {}): AsyncGenerator<FileEntry> {
    let after: string | undefined;
    for (;;) {
      const page = ListPage.parse(await this.#ask({ call: 'list', path, ...defined({ after }) }, true, options));
      yield* page.entries;
      const last = page.entries.at(-1);
      if (!page.more || last === undefined) return;
      after = last.name;
    }
  }

  /** @param options `follow: false` looks at a link itself. */
  async stat(path: string, options: CallOptions & { follow?: boolean } = {}): Promise<FileStat> {
    const { follow, ...rest } = options;
    return FileStat.parse(await this.#ask({ call: 'stat', path, ...defined({ follow }) }, true, rest));
  }

  /** Whether anything has this name. */
  async exists(path: string, options: CallOptions = {}): Promise<boolean> {
    try {
      await this.stat(path, { ...options, follow: false });
      return true;
    } catch (error) {
      if (error instanceof ServiceError && error.code === 'file_not_found') return false;
      throw error;
    }
  }

  /** With its parents. Not an error when it is there. */
  async mkdir(path: string, options: OwnerOptions = {}): Promise<void> {
    const { mode, owner, ...rest } = options;
    await this.#ask({ call: 'mkdir', path, ...defined({ mode, owner }) }, true, rest);
  }

  /**
   * Also to another file system: copied under a temporary name, renamed, and removed where it was.
   * @throws `file_exists` unless told to overwrite.
   */
  async move(path: string, to: string, options: CallOptions & { overwrite?: boolean } = {}): Promise<void> {
    const { overwrite, ...rest } = options;
    await this.#ask({ call: 'move', path, to, ...defined({ overwrite }) }, false, rest);
  }

  async remove(path: string, options: CallOptions & { recursive?: boolean } = {}): Promise<void> {
    const { recursive, ...rest } = options;
    await this.#ask({ call: 'remove', path, ...defined({ recursive }) }, false, rest);
  }

  async chmod(path: string, options: OwnerOptions): Promise<void> {
    const { mode, owner, ...rest } = options;
    await this.#ask({ call: 'chmod', path, ...defined({ mode, owner }) }, true, rest);
  }

  /**
   * Changes of the path and of what is in it, with `recursive` of all below it, until the loop is left or the signal
   * fires. Symbolic links are not followed, and other file systems not entered.
   * @throws ServiceError `exec_resource_limit` when there is more to watch than may be: 4,096 directories, 16 watches.
   */
  async *watch(path: string, options: WatchOptions = {}): AsyncGenerator<FileChange> {
    const { recursive, signal } = options;
    const sandbox = await this.#deps.sandbox;
    const call = { op: 'file', sandbox, call: 'watch', path, ...defined({ recursive }) };
    yield* watch(this.#deps.streams, call, signal);
  }

  /** Unpacks a tar below the path. Members cannot leave it. */
  async uploadTar(path: string, source: ByteSource, options: CallOptions & { owner?: string } = {}): Promise<void> {
    const { owner, signal } = options;
    await this.#upload({ call: 'tar-write', path, ...defined({ owner }) } as FileQuestion, source, signal);
  }

  /** The tree as a tar (POSIX pax), in pieces. */
  async *downloadTar(path: string, options: CallOptions = {}): AsyncGenerator<Buffer> {
    const { chunks, stop } = await this.#download({ call: 'tar-read', path }, options.signal);
    try {
      for (let chunk = await chunks.next(); chunk !== null; chunk = await chunks.next()) yield chunk;
    } finally {
      stop();
    }
  }

  async #ask(question: Json, again: boolean, options: CallOptions): Promise<Json> {
    const sandbox = await this.#deps.sandbox;
    return await ask(this.#deps.streams, { op: 'file', sandbox, ...question }, again, options);
  }

  async #download(question: Json, signal: AbortSignal | undefined): Promise<Download> {
    const sandbox = await this.#deps.sandbox;
    const opened = Promise.withResolvers<Json>();
    const chunks = new Chunks();
    let stream: MuxStream | null = null;
    const opening = openStream(this.#deps.streams, { op: 'file', sandbox, ...question }, signal, {
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
    return { answer, chunks, stop: () => stream?.reset(new ServiceError('cancelled')) };
  }

  async #upload(
    question: FileQuestion,
    source: ByteSource,
    signal: AbortSignal | undefined,
  ): Promise<FileStat | undefined> {
    const sandbox = await this.#deps.sandbox;
    const closed = Promise.withResolvers<FileStat | undefined>();
    closed.promise.catch(() => undefined);
    let done: z.infer<typeof Done> | null = null;
    const stream = await openStream(this.#deps.streams, { op: 'file', sandbox, ...question }, signal, {
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
      // The source failed: half of it must not become the file.
      stream.reset(new ServiceError('cancelled'));
      throw error;
    }
    stream.end();
    return await closed.promise;
  }
}

function defined<T extends object>(fields: T): Partial<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<T>;
}
