/** Operations on files in sandboxes. boxinit carries them out inside; this only forwards them. */
import * as z from 'zod';
import { withDeadline } from '../../lib/deadline.ts';
import type { Json } from '../../mux/index.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { FileEntry, FileStat, type FileCall } from '../../protocol/files.ts';
import type { Lifecycle } from '../lifecycle.ts';
import type { SandboxService } from '../sandboxes/service.ts';
import { ByteStream } from '../streams/bytes.ts';

type Call<Name extends FileCall['call']> = Omit<Extract<FileCall, { call: Name }>, 'call'>;

export interface Reading {
  /** Null for an archive. */
  stat: FileStat | null;
  bytes: AsyncIterable<Buffer>;
  cancel(): void;
}

export interface FileServiceDeps {
  sandboxes: Pick<SandboxService, 'locate'>;
  lifecycle: Lifecycle;
}

const CALL_DEADLINE_MS = 60_000;
const Listing = z.object({ entries: z.array(FileEntry).max(100_000), more: z.boolean() });

export class FileService {
  readonly #deps: FileServiceDeps;

  constructor(deps: FileServiceDeps) {
    this.#deps = deps;
  }

  /** @throws ServiceError `file_…`, `range_not_satisfiable`, `sandbox_…`, `node_unavailable` */
  async read(tenant: string, sandbox: string, call: Call<'read'>, signal?: AbortSignal): Promise<Reading> {
    const stream = await this.#open(tenant, sandbox, { call: 'read', ...call }, signal);
    const stat = FileStat.safeParse(await this.#opened(stream, signal));
    if (!stat.success) {
      stream.cancel();
      throw new ServiceError('protocol_error', 'the agent answered with a file that cannot be read');
    }
    return { stat: stat.data, bytes: stream.read(), cancel: () => stream.cancel() };
  }

  /** Reads the source only as fast as the sandbox takes it. Resolves once the file exists under its name. */
  async write(
    tenant: string,
    sandbox: string,
    call: Call<'write'>,
    source: AsyncIterable<Uint8Array>,
    signal?: AbortSignal,
  ): Promise<FileStat> {
    const done = await this.#send(tenant, sandbox, { call: 'write', ...call }, source, signal);
    const stat = FileStat.safeParse(done?.['stat']);
    if (!stat.success) throw new ServiceError('protocol_error', 'the agent did not say what it has written');
    return stat.data;
  }

  async readTar(tenant: string, sandbox: string, path: string, signal?: AbortSignal): Promise<Reading> {
    const stream = await this.#open(tenant, sandbox, { call: 'tar-read', path }, signal);
    await this.#opened(stream, signal);
    return { stat: null, bytes: stream.read(), cancel: () => stream.cancel() };
  }

  async writeTar(
    tenant: string,
    sandbox: string,
    call: Call<'tar-write'>,
    source: AsyncIterable<Uint8Array>,
    signal?: AbortSignal,
  ): Promise<void> {
    await this.#send(tenant, sandbox, { call: 'tar-write', ...call }, source, signal);
  }

  async list(tenant: string, sandbox: string, call: Call<'list'>): Promise<z.infer<typeof Listing>> {
    const listing = Listing.safeParse(await this.#ask(tenant, sandbox, { call: 'list', ...call }));
    if (!listing.success) throw new ServiceError('protocol_error', 'the agent sent a list that cannot be read');
    return listing.data;
  }

  async stat(tenant: string, sandbox: string, call: Call<'stat'>): Promise<FileStat> {
    const stat = FileStat.safeParse(await this.#ask(tenant, sandbox, { call: 'stat', ...call }));
    if (!stat.success) throw new ServiceError('protocol_error', 'the agent answered with a file that cannot be read');
    return stat.data;
  }

  async mkdir(tenant: string, sandbox: string, call: Call<'mkdir'>): Promise<void> {
    await this.#ask(tenant, sandbox, { call: 'mkdir', ...call });
  }

  async move(tenant: string, sandbox: string, call: Call<'move'>): Promise<void> {
    await this.#ask(tenant, sandbox, { call: 'move', ...call });
  }

  async remove(tenant: string, sandbox: string, call: Call<'remove'>): Promise<void> {
    await this.#ask(tenant, sandbox, { call: 'remove', ...call });
  }

  async chmod(tenant: string, sandbox: string, call: Call<'chmod'>): Promise<void> {
    await this.#ask(tenant, sandbox, { call: 'chmod', ...call });
  }

  async #ask(tenant: string, sandbox: string, call: FileCall): Promise<Json> {
    const node = await this.#deps.sandboxes.locate(tenant, sandbox);
    return node.call({ op: 'file', sandbox, ...call }, CALL_DEADLINE_MS);
  }

  async #open(tenant: string, sandbox: string, call: FileCall, signal?: AbortSignal): Promise<ByteStream> {
    this.#deps.lifecycle.assertOpen();
    const node = await this.#deps.sandboxes.locate(tenant, sandbox, signal);
    return new ByteStream(node, { op: 'file', sandbox, ...call });
  }

  async #opened(stream: ByteStream, signal: AbortSignal | undefined): Promise<Json> {
    try {
      return await withDeadline(
        { signal, deadlineMs: CALL_DEADLINE_MS, what: 'opening the file' },
        () => stream.opened,
      );
    } catch (error) {
      stream.cancel();
      throw error;
    }
  }

  async #send(
    tenant: string,
    sandbox: string,
    call: FileCall,
    source: AsyncIterable<Uint8Array>,
    signal?: AbortSignal,
  ): Promise<Json | null> {
    const stream = await this.#open(tenant, sandbox, call, signal);
    const onAbort = (): void => stream.cancel();
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      await this.#opened(stream, signal);
      await stream.write(source);
      // The file is flushed to disk before the answer, which takes long for large files.
      return await withDeadline({ signal, deadlineMs: CALL_DEADLINE_MS, what: 'writing the file' }, () => stream.done);
    } catch (error) {
      stream.cancel();
      throw error;
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
  }
}
