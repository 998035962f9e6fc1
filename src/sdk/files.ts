/** Files of a sandbox, read and written inside it by its supervisor, without running a command. */
import * as z from 'zod';
import { Linked, withDeadline } from '../lib/deadline.ts';
import { FileEntry, FileStat } from '../protocol/files.ts';
import { ServiceError } from '../protocol/errors.ts';
import type { Json } from '../mux/index.ts';
import { read } from './answer.ts';
import { isAbsent } from './errors.ts';
import { FileCalls, type FileDeps } from './file-calls.ts';
import {
  OWNER_OPTIONS,
  RANGE_OPTIONS,
  WATCH_OPTIONS,
  WRITE_OPTIONS,
  type OwnerOptions,
  type RangeOptions,
  type WatchOptions,
  type WriteOptions,
} from './file-options.ts';
import type { Download, FileRequest } from './files-over-streams.ts';
import type { CallOptions } from './http.ts';
import { CALL_OPTIONS, checkOptions } from './known-options.ts';
import { readSource, type ByteSource, type Source } from './source.ts';
import { isCut, StartupRetry } from './unary.ts';
import type { FileChange } from './watch.ts';

export type { OwnerOptions, RangeOptions, WatchOptions, WriteOptions };

const ListPage = z.object({ entries: z.array(FileEntry), more: z.boolean().optional() });
/** `read` holds the whole file in memory; `readStream` does not. */
const MAX_READ_BYTES = 1024 * 1024 * 1024;
const MAX_RESUMES = 8;

/** Paths are absolute, or relative to the image's WORKDIR. All calls throw ServiceError with a `file_…` code. */
export class Files {
  readonly #calls: FileCalls;

  constructor(deps: FileDeps) {
    this.#calls = new FileCalls(deps);
  }

  /** The whole file, or a range of it. @throws `body_too_large` above 1 GiB: use `readStream`. */
  async read(path: string, options: RangeOptions = {}): Promise<Buffer> {
    checkOptions('files.read', options, RANGE_OPTIONS);
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of this.readStream(path, options)) {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > MAX_READ_BYTES)
        throw new ServiceError('body_too_large', 'the file is too large to read at once: use readStream');
    }
    return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, bytes);
  }

  /** As UTF-8. */
  async readText(path: string, options: RangeOptions = {}): Promise<string> {
    checkOptions('files.readText', options, RANGE_OPTIONS);
    return (await this.read(path, options)).toString('utf8');
  }

  /**
   * The file in chunks, at the reader's pace. Resumes at the same byte after a cut; if the file has changed meanwhile,
   * it ends with `interrupted`.
   */
  async *readStream(path: string, options: RangeOptions = {}): AsyncGenerator<Buffer> {
    checkOptions('files.readStream', options, RANGE_OPTIONS);
    using limit = new Linked({ ...options, what: `reading ${path}` });
    let got = 0;
    let first: FileStat | null = null;
    const startup = new StartupRetry();
    for (let resumes = 0; ;) {
      const range: Json = {
        offset: (options.offset ?? 0) + got,
        ...(options.length === undefined ? {} : { length: options.length - got }),
      };
      const before = got;
      let download: Download | undefined;
      try {
        download = await this.#calls.download({ call: 'read', path, ...range } as FileRequest, limit.signal);
        const { answer } = download;
        const stat: FileStat = read(FileStat, answer);
        if (first !== null && (first.modifiedAtMs !== stat.modifiedAtMs || first.sizeBytes !== stat.sizeBytes)) {
          throw new ServiceError('not_supported', 'the file changed while the link was down');
        }
        first = stat;
        for (let chunk = await download.next(); chunk !== null; chunk = await download.next()) {
          got += chunk.length;
          yield chunk;
        }
        return;
      } catch (error) {
        if (await startup.mayRetry(error, limit.signal)) continue;
        if (!isCut(error)) throw error;
        if (got > before) resumes = 0;
        if (resumes++ >= MAX_RESUMES) throw error;
      } finally {
        download?.stop();
      }
    }
  }

  /**
   * Writes to a temporary name and renames it, so that no reader sees a partial file. Creates parent directories. A
   * string or bytes are sent again after a cut; a stream cannot be, and fails with `interrupted`.
   * @throws TypeError unless the data is a string, bytes or an iterable of them
   */
  async write(path: string, data: ByteSource, options: WriteOptions = {}): Promise<FileStat> {
    checkOptions('files.write', options, WRITE_OPTIONS);
    const source = readSource(data);
    return await withDeadline({ ...options, what: `writing ${path}` }, (signal) =>
      this.#write(path, source, { ...options, signal }),
    );
  }

  async #write(path: string, source: Source, options: WriteOptions): Promise<FileStat> {
    const { mode, owner, append, signal } = options;
    const atHand = source instanceof Uint8Array;
    const size = atHand ? source.length : options.size;
    const call = { call: 'write', path, ...defined({ mode, owner, append, size }) } as FileRequest;
    const startup = new StartupRetry();
    for (let tries = 1; ;) {
      try {
        const done = await this.#calls.upload(call, source, { size, signal });
        return done ?? (await this.stat(path, { signal }));
      } catch (error) {
        if (atHand && (await startup.mayRetry(error, signal))) continue;
        if (!isCut(error) || !atHand || append || tries++ >= MAX_RESUMES) throw error;
      }
    }
  }

  /** Same as `write`. A Node writable could not report how the write ended, so pass the source instead. */
  writeStream(path: string, source: AsyncIterable<string | Uint8Array>, options: WriteOptions = {}): Promise<FileStat> {
    return this.write(path, source, options);
  }

  /** All entries, sorted as the supervisor reads them. For a directory of any size, use `entries`. */
  async list(path: string, options: CallOptions = {}): Promise<FileEntry[]> {
    checkOptions('files.list', options, CALL_OPTIONS);
    const all: FileEntry[] = [];
    for await (const entry of this.entries(path, options)) all.push(entry);
    return all;
  }

  async *entries(path: string, options: CallOptions = {}): AsyncGenerator<FileEntry> {
    checkOptions('files.entries', options, CALL_OPTIONS);
    let after: string | undefined;
    for (;;) {
      const page = read(
        ListPage,
        await this.#calls.ask({ call: 'list', path, ...defined({ after }) } as FileRequest, true, options),
      );
      yield* page.entries;
      if (!page.more) return;
      // All entries of a page may have vanished since it was read: the same position is read again.
      after = page.entries.at(-1)?.name ?? after;
    }
  }

  /** @param options `follow: false` describes a link itself. */
  async stat(path: string, options: CallOptions & { follow?: boolean | undefined } = {}): Promise<FileStat> {
    checkOptions('files.stat', options, { ...CALL_OPTIONS, follow: true });
    const { follow, ...rest } = options;
    return read(
      FileStat,
      await this.#calls.ask({ call: 'stat', path, ...defined({ follow }) } as FileRequest, true, rest),
    );
  }

  /** Whether anything has this name. */
  async exists(path: string, options: CallOptions = {}): Promise<boolean> {
    checkOptions('files.exists', options, CALL_OPTIONS);
    try {
      await this.stat(path, { ...options, follow: false });
      return true;
    } catch (error) {
      if (isAbsent(error)) return false;
      throw error;
    }
  }

  /** Creates parents too. Not an error if it exists. */
  async mkdir(path: string, options: OwnerOptions = {}): Promise<void> {
    checkOptions('files.mkdir', options, OWNER_OPTIONS);
    const { mode, owner, ...rest } = options;
    await this.#calls.ask({ call: 'mkdir', path, ...defined({ mode, owner }) } as FileRequest, true, rest);
  }

  /**
   * Works across file systems: the file is copied to a temporary name, renamed, and then the original is removed.
   * @throws `file_exists` unless told to overwrite.
   */
  async move(path: string, to: string, options: CallOptions & { overwrite?: boolean | undefined } = {}): Promise<void> {
    checkOptions('files.move', options, { ...CALL_OPTIONS, overwrite: true });
    const { overwrite, ...rest } = options;
    await this.#calls.ask({ call: 'move', path, to, ...defined({ overwrite }) } as FileRequest, false, rest);
  }

  async remove(path: string, options: CallOptions & { recursive?: boolean | undefined } = {}): Promise<void> {
    checkOptions('files.remove', options, { ...CALL_OPTIONS, recursive: true });
    const { recursive, ...rest } = options;
    await this.#calls.ask({ call: 'remove', path, ...defined({ recursive }) } as FileRequest, false, rest);
  }

  async chmod(path: string, options: OwnerOptions): Promise<void> {
    checkOptions('files.chmod', options, OWNER_OPTIONS);
    const { mode, owner, ...rest } = options;
    await this.#calls.ask({ call: 'chmod', path, ...defined({ mode, owner }) } as FileRequest, true, rest);
  }

  /**
   * Changes to the path and to entries in it or, with `recursive`, to everything below it, until the loop is left or
   * the signal fires. Symbolic links are not followed, and other file systems not entered.
   * @throws ServiceError `exec_resource_limit` beyond 4,096 directories or 16 watches.
   */
  async *watch(path: string, options: WatchOptions = {}): AsyncGenerator<FileChange> {
    checkOptions('files.watch', options, WATCH_OPTIONS);
    const { recursive, signal } = options;
    yield* this.#calls.watch({ path, ...defined({ recursive }) }, signal);
  }

  /** Unpacks a tar below the path. Members cannot leave it. */
  async uploadTar(
    path: string,
    source: ByteSource,
    options: CallOptions & { owner?: string | undefined } = {},
  ): Promise<void> {
    checkOptions('files.uploadTar', options, { ...CALL_OPTIONS, owner: true });
    const call = { call: 'tar-write', path, ...defined({ owner: options.owner }) } as FileRequest;
    const archive = readSource(source);
    await withDeadline({ ...options, what: `unpacking into ${path}` }, (signal) =>
      this.#calls.upload(call, archive, { signal }),
    );
  }

  /** The tree as a tar (POSIX pax), in pieces. */
  async *downloadTar(path: string, options: CallOptions = {}): AsyncGenerator<Buffer> {
    checkOptions('files.downloadTar', options, CALL_OPTIONS);
    using limit = new Linked({ ...options, what: `packing ${path}` });
    const download = await this.#calls.download({ call: 'tar-read', path }, limit.signal);
    try {
      for (let chunk = await download.next(); chunk !== null; chunk = await download.next()) yield chunk;
    } finally {
      download.stop();
    }
  }
}

function defined<T extends object>(fields: T): Partial<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<T>;
}
