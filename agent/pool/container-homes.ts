/**
 * The directory of each container on the host: what an agent needs to find it again after a restart (never mounted),
 * and below it the directory that boxinit sees, with nothing in it but the socket.
 */
import { closeSync, existsSync, mkdirSync, openSync } from 'node:fs';
import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import * as z from 'zod';
import { Network } from '../../src/protocol/sandbox.ts';

/** An image as it was when a container was made of it: nobody has to be asked about it after a restart. */
export const StoredImage = z.object({
  ref: z.string(),
  id: z.string(),
  env: z.record(z.string(), z.string()),
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

export class ContainerHomes {
  readonly #root: string;

  constructor(dataDir: string) {
    // Short: the path of a unix socket has 107 bytes at most.
    this.#root = path.join(dataDir, 'c');
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
    await writeFile(path.join(home, 'meta.json'), JSON.stringify(meta), { mode: 0o600, flag: 'wx' });
  }

  /** From now on this container belongs to a sandbox: no later agent takes it for a warm one. */
  markClaimed(id: string): void {
    closeSync(openSync(path.join(this.#root, id, 'claimed'), 'a', 0o600));
  }

  isClaimed(id: string): boolean {
    return existsSync(path.join(this.#root, id, 'claimed'));
  }

  async remove(id: string): Promise<void> {
    await rm(path.join(this.#root, id), { recursive: true, force: true });
  }

  /** Undefined when it is not there or not whole. */
  async read(id: string): Promise<ContainerMeta | undefined> {
    try {
      const text = await readFile(path.join(this.#root, id, 'meta.json'), 'utf8');
      const parsed = ContainerMeta.safeParse(JSON.parse(text));
      return parsed.success && parsed.data.id === id ? parsed.data : undefined;
    } catch {
      return undefined;
    }
  }

  /** Ids of all homes, of whatever is left in them. */
  async list(): Promise<string[]> {
    return await readdir(this.#root);
  }
}
