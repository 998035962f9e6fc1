/**
 * Each container's directory on the host: what the next agent needs to find it again (never mounted), and below that
 * the directory boxinit sees, which contains only the socket.
 */
import { appendFileSync, mkdirSync } from 'node:fs';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import * as z from 'zod';
import { parseJson } from '../../src/lib/parse-json.ts';
import { readIfThere } from '../../src/lib/whole-file.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import { Network } from '../../src/protocol/sandbox.ts';
import { stringMap } from '../../src/protocol/string-map.ts';

/** The image's settings at the container's launch, so that a restart need not look them up. */
export const StoredImage = z.object({
  ref: z.string(),
  id: z.string(),
  env: stringMap(z.string(), z.string()),
  workdir: z.string(),
  user: z.string(),
});

const ContainerMeta = z.object({
  id: z.string().regex(/^[a-z0-9-]{1,64}$/),
  token: z.string(),
  /** Null for a blank. */
  image: StoredImage.nullable(),
  poolKey: z.string(),
  limits: z.object({
    cpus: z.number(),
    memoryMb: z.number(),
    diskMb: z.number().nullable(),
    pidsLimit: z.number(),
  }),
  network: Network,
});
/** The record of a launched container. Contains its token: mode 0600. */
export type ContainerMeta = z.infer<typeof ContainerMeta>;

/** Appended after the first line; any byte there means claimed. */
const CLAIMED = 'claimed\n';

/** Parent of all containers' homes. The name is short because a unix socket's path is limited to 107 bytes. */
export const homesIn = (dataDir: string): string => path.join(dataDir, 'c');

export class ContainerHomes {
  readonly root: string;
  #allKept = false;

  constructor(dataDir: string) {
    this.root = homesIn(dataDir);
    mkdirSync(this.root, { recursive: true, mode: 0o711 });
  }

  socketDir(id: string): string {
    return path.join(this.root, id, 'run');
  }

  socketPath(id: string): string {
    return path.join(this.socketDir(id), 'agent.sock');
  }

  async create(meta: ContainerMeta): Promise<void> {
    const home = path.join(this.root, meta.id);
    await mkdir(home, { mode: 0o711 });
    await mkdir(this.socketDir(meta.id), { mode: 0o711 });
    await writeFile(this.#metaFile(meta.id), `${JSON.stringify(meta)}\n`, { mode: 0o600, flag: 'wx' });
    await writeFile(this.spareFile(meta.id), '', { mode: 0o600, flag: 'wx' });
  }

  /** An empty file, which becomes the record of the container's sandbox. Missing once it has. */
  spareFile(id: string): string {
    return path.join(this.root, id, 'spare');
  }

  /**
   * Records that the container belongs to a sandbox, so that no later agent takes it for a warm one. Appending to an
   * existing file is many times cheaper than creating one, and this is on the create path.
   */
  markClaimed(id: string): void {
    appendFileSync(this.#metaFile(id), CLAIMED);
  }

  async remove(id: string): Promise<void> {
    await rm(path.join(this.root, id), { recursive: true, force: true });
  }

  /** Undefined if it is missing or incomplete. @throws Error from the file system if it cannot be read. */
  async read(id: string): Promise<{ meta: ContainerMeta; claimed: boolean } | undefined> {
    const text = (await readIfThere(this.#metaFile(id))) ?? '';
    const [first = '', ...rest] = text.split('\n');
    const meta = parseJson(ContainerMeta, first);
    return meta?.id === id ? { meta, claimed: rest.some((line) => line !== '') } : undefined;
  }

  /** The owner of some containers is unknown: from now on none counts as an orphan. */
  keepAll(): void {
    this.#allKept = true;
  }

  /**
   * Ids of all homes, whatever they contain, for the orphan search.
   * @throws ServiceError `internal` after `keepAll`.
   */
  async list(): Promise<string[]> {
    if (this.#allKept) {
      throw new ServiceError(
        'internal',
        'sandboxes were left for the next start: until then no container is treated as an orphan',
      );
    }
    return await readdir(this.root);
  }

  #metaFile(id: string): string {
    return path.join(this.root, id, 'meta.json');
  }
}
