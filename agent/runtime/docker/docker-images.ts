/** Images in Docker's store, pulled by Docker. Their settings are cached, so that a create need not ask Docker. */
import type Docker from 'dockerode';
import { withDeadline } from '../../../src/lib/deadline.ts';
import type { Logger } from '../../../src/lib/logger.ts';
import { ServiceError } from '../../../src/protocol/errors.ts';
import { PULL_DEADLINE_MS } from '../../../src/protocol/node.ts';
import { parseEnv, placeAndUser } from '../../images/layout.ts';
import { Pulls } from '../../images/pulls.ts';
import type { EnsureOptions, Image, Images, PullProgress, Refreshed } from '../runtime.ts';
import { dockerError, pullError, statusOf } from './docker-errors.ts';

const CALL_MS = 30_000;
/** A pull without progress messages for this long has lost its registry. */
const PULL_SILENCE_MS = 120_000;
/** Those of the pool count: Docker removes no image that has a container. */
const IN_USE = 'a sandbox or a warm container of the pool uses this image';
/** An image may be removed between its pull and the look at it. */
const PULLS = 2;
const MAX_KNOWN = 10_000;

interface DockerImagesOptions {
  /** Ids of the images that containers of ours use. */
  inUse: () => ReadonlySet<string>;
  log: Logger;
}

export class DockerImages implements Images {
  readonly #docker: Docker;
  readonly #known = new Map<string, Image>();
  readonly #pulls = new Pulls();
  readonly #inUse: () => ReadonlySet<string>;
  readonly #log: Logger;

  constructor(docker: Docker, { inUse, log }: DockerImagesOptions) {
    this.#docker = docker;
    this.#inUse = inUse;
    this.#log = log;
  }

  get(ref: string): Image | undefined {
    return this.#known.get(ref);
  }

  async ensure(ref: string, options: EnsureOptions): Promise<Image> {
    const here = this.#known.get(ref) ?? (await this.#inspect(ref));
    return here ?? (await this.#join(ref, options));
  }

  async refresh(ref: string, options: EnsureOptions): Promise<Refreshed> {
    // Not from memory: others with access to the engine may have moved the name.
    const before = await this.#inspect(ref);
    if (before !== undefined && ref.includes('@')) return { image: before, changed: false };
    const image = await this.#join(ref, options);
    if (before === undefined || before.id === image.id) return { image, changed: before === undefined };
    // Other spellings of the reference.
    this.forget(before.id);
    return { image, changed: true };
  }

  async #join(ref: string, options: EnsureOptions): Promise<Image> {
    return await this.#pulls.join(ref, (signal, tell) => this.#pullInTime(ref, signal, tell), options);
  }

  async list(): Promise<{ ref: string; id: string; sizeBytes: number; inUse: boolean }[]> {
    const images = await this.#call('the list of images', () => this.#docker.listImages());
    const used = this.#inUse();
    return images.flatMap((image) =>
      namesOf(image).map((ref) => ({
        ref,
        id: image.Id,
        sizeBytes: image.Size,
        inUse: used.has(image.Id),
      })),
    );
  }

  async remove(ref: string): Promise<void> {
    const image = await this.#inspect(ref);
    if (image === undefined) throw new ServiceError('image_not_found');
    if (this.#inUse().has(image.id)) throw new ServiceError('invalid_request', IN_USE);
    // All spellings of the reference. Where another tag of it stays, that is looked up again.
    this.forget(image.id);
    try {
      await this.#call('the removal of an image', () => this.#docker.getImage(ref).remove());
    } catch (error) {
      if (error instanceof ServiceError && statusOf(error.cause) === 409) {
        throw new ServiceError('invalid_request', 'a container uses this image', { cause: error });
      }
      throw error;
    }
  }

  /** Forgets an image that Docker no longer has. */
  forget(id: string): void {
    for (const [ref, image] of this.#known) if (image.id === id) this.#known.delete(ref);
  }

  async #inspect(ref: string): Promise<Image | undefined> {
    try {
      const info = await this.#call('the look at an image', () => this.#docker.getImage(ref).inspect());
      // Docker omits these if the image sets none.
      const config = info.Config as Partial<typeof info.Config> | undefined;
      const image: Image = {
        ref,
        id: info.Id,
        env: parseEnv(config?.Env ?? []),
        ...placeAndUser(config),
      };
      if (this.#known.size >= MAX_KNOWN) this.#known.clear();
      this.#known.set(ref, image);
      return image;
    } catch (error) {
      const status = error instanceof ServiceError ? statusOf(error.cause) : undefined;
      if (status === 404) return undefined;
      if (status === 400) throw pullError((error as ServiceError).cause, ref, this.#log);
      throw error;
    }
  }

  async #pullInTime(ref: string, signal: AbortSignal, tell: (progress: PullProgress) => void): Promise<Image> {
    try {
      return await withDeadline({ deadlineMs: PULL_DEADLINE_MS, signal, what: `the pull of ${ref}` }, (linked) =>
        this.#pull(ref, linked, tell),
      );
    } catch (error) {
      throw pullError(error, ref, this.#log);
    }
  }

  async #pull(ref: string, signal: AbortSignal, onProgress: (progress: PullProgress) => void): Promise<Image> {
    for (let attempt = 1; attempt <= PULLS; attempt += 1) {
      await this.#bring(ref, signal, onProgress);
      const image = await this.#inspect(ref);
      if (image !== undefined) return image;
    }
    throw new ServiceError('image_not_found', `${ref} was pulled but is not there`);
  }

  async #bring(ref: string, signal: AbortSignal, onProgress: (progress: PullProgress) => void): Promise<void> {
    const name = /[:@]/.test(ref.slice(ref.lastIndexOf('/') + 1)) ? ref : `${ref}:latest`;
    const stream = (await this.#docker.pull(name, { abortSignal: signal })) as unknown as NodeJS.ReadableStream & {
      destroy(error?: Error): void;
    };
    const layers = new Map<string, { current: number; total: number }>();
    await followPull(stream, signal, (message) => {
      const { id, status, progressDetail } = message;
      if (id !== undefined && progressDetail?.total !== undefined && status === 'Downloading') {
        layers.set(id, { current: progressDetail.current ?? 0, total: progressDetail.total });
      }
      let doneBytes = 0;
      let totalBytes = 0;
      for (const layer of layers.values()) {
        doneBytes += layer.current;
        totalBytes += layer.total;
      }
      onProgress({ image: ref, doneBytes, totalBytes, message: (status ?? '').slice(0, 200) });
    });
  }

  async #call<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
      return await withDeadline({ deadlineMs: CALL_MS, what }, work);
    } catch (error) {
      throw dockerError(error, what, this.#log);
    }
  }
}

/** Its tags; without one, the digests under which it was pulled. */
function namesOf({ RepoTags, RepoDigests }: Partial<Docker.ImageInfo>): string[] {
  // Null where there are none, unless an older engine says so by this word.
  const [tags, digests] = [RepoTags, RepoDigests].map((all) => (all ?? []).filter((ref) => !ref.includes('<none>')));
  return (tags?.length ? tags : digests) ?? [];
}

interface PullMessage {
  id?: string;
  status?: string;
  error?: string;
  progressDetail?: { current?: number; total?: number };
}

/** Reads a pull's messages until it ends. @throws the error in them: a failing pull has status 200. */
async function followPull(
  stream: NodeJS.ReadableStream & { destroy(error?: Error): void },
  signal: AbortSignal,
  onMessage: (message: PullMessage) => void,
): Promise<void> {
  let silence = setTimeout(silent, PULL_SILENCE_MS);
  function silent(): void {
    stream.destroy(new Error('the pull has stalled'));
  }
  const onAbort = (): void => stream.destroy(new ServiceError('cancelled'));
  signal.addEventListener('abort', onAbort, { once: true });
  let rest = '';
  try {
    for await (const chunk of stream) {
      clearTimeout(silence);
      silence = setTimeout(silent, PULL_SILENCE_MS);
      const lines = (rest + String(chunk)).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        if (line.trim() === '') continue;
        const message = JSON.parse(line) as PullMessage;
        if (message.error !== undefined) throw new Error(message.error);
        onMessage(message);
      }
    }
  } finally {
    clearTimeout(silence);
    signal.removeEventListener('abort', onAbort);
    stream.destroy();
  }
}
