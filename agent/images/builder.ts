/**
 * Builds each image in its own work directory, so a failed build leaves nothing behind and a published image is
 * complete.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Logger } from '../../src/lib/logger.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import { canonical, familiar, type ImageReference } from '../../src/protocol/image-reference.ts';
import type { PullProgress } from '../runtime/runtime.ts';
import { archiveToLayout, readArchive } from './archive.ts';
import type { Catalogue, StoredImage } from './catalogue.ts';
import { MIN_FREE_BYTES, whileThereIsRoom } from './disk-room.ts';
import { DEFAULT_PATH, readLayout } from './layout.ts';
import { copyFromRegistry, type RegistryConfig } from './registry.ts';
import { removeTree } from './remove-tree.ts';
import { runTool } from '../run-tool.ts';
import type { Turn, TurnOptions, Turns } from './turns.ts';
import { unpackLayout, unpackTar } from './unpack.ts';

const HASH_AND_SIZE_MS = 10 * 60_000;
const TO_DISK_MS = 10 * 60_000;

interface BuilderOptions {
  catalogue: Catalogue;
  turns: Turns;
  registry: RegistryConfig;
  /** Protects an image from removal until it is released. */
  users: { hold(imageId: string): void; release(imageId: string): void };
  /** Called when a reference now names a different image. Must not throw. */
  named(): void;
  log: Logger;
}

/** Who wants the image, and for how long. */
export type Wanted = Omit<TurnOptions, 'tooSlow'>;

/** An image unpacked in a work directory, or one that already exists. */
type Made = Omit<StoredImage, 'sizeBytes'>;

export class Builder {
  readonly #options: BuilderOptions;
  /** Work directory → the existing image that makes unpacking unnecessary. */
  readonly #kept = new Map<string, string>();

  constructor(options: BuilderOptions) {
    this.#options = options;
  }

  /** @throws ServiceError as `copyFromRegistry`, `capacity_exhausted`. */
  async fromRegistry(
    reference: ImageReference,
    wanted: Wanted,
    report: (progress: PullProgress) => void,
  ): Promise<StoredImage> {
    const image = familiar(reference);
    return await this.#build(reference, wanted, async (work, signal, turn) => {
      let doneBytes = 0;
      const onProgress = (bytes: number, message: string): void => {
        doneBytes = bytes;
        turn.received(bytes);
        report({ image, doneBytes, totalBytes: 0, message });
      };
      await copyFromRegistry(reference, join(work, 'layout'), this.#options.registry, { signal, onProgress });
      onProgress(doneBytes, 'unpacking');
      return await this.#unpack(work, signal);
    });
  }

  /** @throws ServiceError `image_invalid`, `capacity_exhausted`. */
  async fromArchive(reference: ImageReference, path: string, wanted: Wanted): Promise<StoredImage> {
    return await this.#build(reference, wanted, async (work, signal, turn) => {
      turn.received(Infinity);
      const archive = await readArchive(path, signal);
      if (archive.kind !== 'rootfs') {
        await archiveToLayout(archive, path, join(work, 'layout'), signal);
        return await this.#unpack(work, signal);
      }
      const id = await digestOf(path, signal);
      if (!this.#keep(id, work)) await unpackTar(path, rootIn(work), signal);
      return { id, env: { PATH: DEFAULT_PATH }, workdir: '/', user: '' };
    });
  }

  /** Adds the image that `make` leaves in its work directory. */
  async #build(
    reference: ImageReference,
    wanted: Wanted,
    make: (work: string, signal: AbortSignal, turn: Turn) => Promise<Made>,
  ): Promise<StoredImage> {
    const { catalogue, turns, users, named, log } = this.#options;
    return await turns.take({ ...wanted, tooSlow: tooSlow(reference) }, async (turn) => {
      const work = await catalogue.workDir();
      try {
        const made = await whileThereIsRoom(work, MIN_FREE_BYTES, { signal: turn.signal, log }, (linked) =>
          make(work, linked, turn),
        );
        const sizeBytes = catalogue.byId(made.id)?.sizeBytes ?? (await sizeOf(rootIn(work)));
        const image: StoredImage = { ...made, sizeBytes };
        if (catalogue.byId(made.id) === undefined) await toDisk(work, turn.signal);
        await catalogue.add(canonical(reference), image, join(work, 'made'));
        named();
        return image;
      } finally {
        const kept = this.#kept.get(work);
        this.#kept.delete(work);
        if (kept !== undefined) users.release(kept);
        await removeTree(work).catch((error: unknown) => {
          log.warn({ err: error }, 'temporary files of a pull could not be removed');
        });
      }
    });
  }

  /** Unpacks the layout in a work directory into an image. */
  async #unpack(work: string, signal: AbortSignal): Promise<Made> {
    const layout = join(work, 'layout');
    const { id, config } = await readLayout(layout);
    if (!this.#keep(id, work)) await unpackLayout(layout, rootIn(work), signal);
    return { id, ...config };
  }

  /** Whether the image already exists; if so, holds it until this work directory is done. */
  #keep(id: string, work: string): boolean {
    if (this.#options.catalogue.byId(id) === undefined) return false;
    this.#options.users.hold(id);
    this.#kept.set(work, id);
    return true;
  }
}

/** The error that aborts a pull which keeps others waiting. */
export const tooSlow = (reference: ImageReference) => (): Error =>
  new ServiceError('image_unreachable', `the pull of ${canonical(reference)} is too slow while others wait`);

const rootIn = (work: string): string => join(work, 'made', 'fs');

/** Syncs the image to disk, so that a power cut cannot leave files silently empty. */
async function toDisk(dir: string, signal: AbortSignal): Promise<void> {
  await runTool('sync', ['--file-system', dir], { deadlineMs: TO_DISK_MS, signal });
}

async function digestOf(path: string, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 1024 * 1024 }), hash, { signal });
  return `sha256:${hash.digest('hex')}`;
}

async function sizeOf(dir: string): Promise<number> {
  const told = await runTool('du', ['--summarize', '--block-size=1', dir], { deadlineMs: HASH_AND_SIZE_MS });
  return Number.parseInt(told, 10);
}
