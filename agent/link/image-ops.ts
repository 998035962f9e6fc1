/** Image operations on behalf of a gateway: pull and import. */
import { createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { background } from '../../src/lib/background.ts';
import { Linked } from '../../src/lib/deadline.ts';
import type { Logger } from '../../src/lib/logger.ts';
import type { MuxStream, StreamHandler } from '../../src/mux/index.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import { Channel } from '../../src/protocol/frames.ts';
import { IMPORT_DEADLINE_MS, PULL_DEADLINE_MS } from '../../src/protocol/node.ts';
import { MIN_FREE_BYTES, whileThereIsRoom } from '../images/disk-room.ts';
import type { EnsureOptions, Image, Images } from '../runtime/runtime.ts';

const incomingIn = (dataDir: string): string => join(dataDir, 'incoming');

/** At start-up: removes archives whose upload was cut short under an earlier agent. */
export async function clearIncoming(dataDir: string): Promise<void> {
  await rm(incomingIn(dataDir), { recursive: true, force: true });
}

export interface ImageOpsDeps {
  images: Images;
  /** Uploaded archives are stored below it until they are unpacked. */
  dataDir: string;
  /** Called when the set of images may have changed. Resolves once it is in the node's report. Never rejects. */
  changed(): Promise<void>;
  log: Logger;
}

/**
 * Answers with progress events and `{ type: 'done', changed }`; ends once the image is on this node. With `refresh`:
 * the image that the registry has now.
 */
export function pullImage(
  stream: MuxStream,
  { image, refresh = false }: { image: string; refresh?: boolean | undefined },
  { images, changed, log }: ImageOpsDeps,
): StreamHandler {
  const gone = new AbortController();
  queueMicrotask(() => {
    stream.accept();
    const linked = new Linked({ signal: gone.signal, deadlineMs: PULL_DEADLINE_MS, what: 'the pull' });
    const onProgress = (progress: object): void => {
      if (!stream.closed) stream.event({ type: 'progress', ...progress });
    };
    const done = bring(images, image, refresh, { signal: linked.signal, onProgress })
      .finally(changed)
      .then(
        (isChanged) => {
          stream.event({ type: 'done', changed: isChanged });
          stream.end();
        },
        (error: unknown) => stream.reset(ServiceError.from(error)),
      )
      .finally(() => linked[Symbol.dispose]());
    background(done, 'the pull of an image', log);
  });
  return { closed: () => gone.abort(new ServiceError('cancelled')) };
}

/** Resolves with whether the reference now names a different image. */
async function bring(images: Images, ref: string, refresh: boolean, options: EnsureOptions): Promise<boolean> {
  if (refresh) return (await images.refresh(ref, options)).changed;
  const before = images.get(ref);
  return (await images.ensure(ref, options)).id !== before?.id;
}

/**
 * Receives an archive on channel BYTES up to its FIN; answers with the event `{ type: 'done', id }` and ends.
 * @throws ServiceError `not_supported` if the runtime cannot import.
 */
export function importImage(stream: MuxStream, image: string, deps: ImageOpsDeps): StreamHandler {
  const { images, changed, log } = deps;
  const take = images.importTar?.bind(images);
  if (take === undefined) throw new ServiceError('not_supported', 'this runtime does not import images');
  const gone = new AbortController();
  const arriving = new Arriving(stream);
  const work = async (): Promise<Image> => {
    using linked = new Linked({ signal: gone.signal, deadlineMs: IMPORT_DEADLINE_MS, what: 'the import' });
    const incoming = incomingIn(deps.dataDir);
    await mkdir(incoming, { recursive: true, mode: 0o700 });
    const dir = await mkdtemp(join(incoming, 'image-'));
    try {
      const path = join(dir, 'archive');
      await whileThereIsRoom(dir, MIN_FREE_BYTES, { signal: linked.signal, log }, (signal) =>
        arriving.into(path, signal),
      );
      return await take(image, path, linked.signal);
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
  };
  queueMicrotask(() => {
    stream.accept();
    const done = work().then(
      async ({ id }) => {
        await changed();
        stream.event({ type: 'done', id });
        stream.end();
      },
      (error: unknown) => {
        if (!stream.closed) stream.reset(ServiceError.from(error));
      },
    );
    background(done, 'the import of an image', log);
  });
  return {
    data: (channel, bytes) => arriving.took(channel, bytes),
    fin: () => arriving.ended(),
    closed: () => gone.abort(new ServiceError('cancelled')),
  };
}

/** Writes a stream's bytes to a file; returns credit once they are written. */
class Arriving {
  readonly #stream: MuxStream;
  readonly #waiting: Buffer[] = [];
  #over = false;
  #wake: () => void = () => undefined;

  constructor(stream: MuxStream) {
    this.#stream = stream;
  }

  took(channel: number, bytes: Uint8Array): void {
    if (channel !== Channel.BYTES) return this.#stream.consume(bytes.length);
    this.#waiting.push(Buffer.from(bytes));
    this.#wake();
  }

  ended(): void {
    this.#over = true;
    this.#wake();
  }

  async into(path: string, signal: AbortSignal): Promise<void> {
    const wake = (): void => this.#wake();
    signal.addEventListener('abort', wake, { once: true });
    const file = createWriteStream(path, { mode: 0o600 });
    const failed = new Promise<never>((_resolve, reject) => file.once('error', reject));
    failed.catch(() => undefined);
    try {
      for (;;) {
        signal.throwIfAborted();
        const chunk = this.#waiting.shift();
        if (chunk !== undefined) {
          await Promise.race([new Promise((resolve) => file.write(chunk, resolve)), failed]);
          this.#stream.consume(chunk.length);
        } else if (this.#over) {
          break;
        } else {
          await new Promise<void>((resolve) => (this.#wake = resolve));
        }
      }
      await Promise.race([new Promise<void>((resolve) => file.end(resolve)), failed]);
    } finally {
      signal.removeEventListener('abort', wake);
      file.destroy();
    }
  }
}
