/**
 * The directory of each container on the host: what an agent needs to find it again after a restart (never mounted),
 * and below it the directory that boxinit sees, with nothing in it but the socket.
 */
import { appendFileSync, mkdirSync } from 'node:fs';
import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import * as z from 'zod';
import { Network } from '../../src/protocol/sandbox.ts';
import { stringMap } from '../../src/protocol/string-map.ts';

/** An image as it was when a container was made of it: nobody has to be asked about it after a restart. */
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
/** What is known of a container that was launched. Holds its token: mode 0600. */
export type ContainerMeta = z.infer<typeof ContainerMeta>;

/** Any byte behind the first line says it. */
const CLAIMED = 'claimed\n';

/** Where the homes of all containers of a data directory are. Short: the path of a unix socket has 107 bytes at most. */
export const homesIn = (dataDir: string): string => path.join(dataDir, 'c');

export class ContainerHomes {
  readonly #root: string;

  constructor(dataDir: string) {
    this.#root = homesIn(dataDir);
    mkdirSync(this.#root, { recursive: true, mode: 0o711 });
  }

  socketDir(id: string): string {
    return path.join(this.#root, id, 'run');
  }

  socketPath(id: string): string {
    return path.join(this.socketDir(id), 'agent.sock');
  }

  async create(meta: ContainerMeta): Promise<void> {
    const home = path.join(this.#root, meta.id);
    await mkdir(home, { mode: 0o711 });
    await mkdir(this.socketDir(meta.id), { mode: 0o711 });
    await writeFile(this.#metaFile(meta.id), `${JSON.stringify(meta)}\n`, { mode: 0o600, flag: 'wx' });
  }

  /**
   * From now on this container belongs to a sandbox: no later agent takes it for a waiting one. An append to a file that
   * exists is many times cheaper than a file of its own, and this is on the path of a create.
   */
  markClaimed(id: string): void {
    appendFileSync(this.#metaFile(id), CLAIMED);
  }

  async remove(id: string): Promise<void> {
    await rm(path.join(this.#root, id), { recursive: true, force: true });
  }

  /** Undefined when it is not there or not whole. */
  async read(id: string): Promise<{ meta: ContainerMeta; claimed: boolean } | undefined> {
    try {
      const [first = '', ...rest] = (await readFile(this.#metaFile(id), 'utf8')).split('\n');
      const parsed = ContainerMeta.safeParse(JSON.parse(first));
      if (!parsed.success || parsed.data.id !== id) return undefined;
      return { meta: parsed.data, claimed: rest.some((line) => line !== '') };
    } catch {
      return undefined;
    }
  }

  /** Ids of all homes, of whatever is left in them. */
  async list(): Promise<string[]> {
    return await readdir(this.#root);
  }

  #metaFile(id: string): string {
    return path.join(this.#root, id, 'meta.json');
  }
}
