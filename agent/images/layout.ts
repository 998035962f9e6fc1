/** Reads an OCI layout: which image it holds, and the defaults for programs that run in it. */
import { readFile, stat } from 'node:fs/promises';
import { join, posix } from 'node:path';
import * as z from 'zod';
import { ServiceError } from '../../src/protocol/errors.ts';
import { MAX_ARG_BYTES, MAX_ENV_ENTRIES } from '../../src/protocol/limits.ts';
import { runsHere } from './processor.ts';

/** Limit of a manifest or configuration; registries allow 4 MiB. */
const MAX_JSON_BYTES = 8 * 1024 * 1024;
/** Docker's default for images that set none. */
export const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Limit of the whole environment: the node keeps it in memory, and every command carries it. */
const MAX_ENV_BYTES = 256 * 1024;
const MAX_USER_BYTES = 512;
/** The kernel's PATH_MAX, without the terminating NUL. */
const MAX_PATH_BYTES = 4095;

const Digest = z.string().regex(/^sha256:[a-f0-9]{64}$/);
const Descriptor = z.object({ digest: Digest, size: z.number() });
const Index = z.object({ manifests: z.array(Descriptor).min(1) });
const Manifest = z.object({ config: Descriptor, layers: z.array(Descriptor).max(512) });
/** exec(2) cuts strings at the first NUL and limits their length. */
const text = (maxBytes: number): z.ZodString => {
  return z
    .string()
    .refine((value) => !value.includes('\0') && Buffer.byteLength(value) <= maxBytes, 'it cannot be given');
};
const Env = z
  .array(text(MAX_ARG_BYTES))
  .max(MAX_ENV_ENTRIES)
  .refine((entries) => Buffer.byteLength(entries.join('')) <= MAX_ENV_BYTES, 'the environment is too large');
const Config = z.object({
  os: z.string().nullish(),
  architecture: z.string().nullish(),
  config: z
    .object({
      Env: Env.nullish(),
      WorkingDir: text(MAX_PATH_BYTES).nullish(),
      User: text(MAX_USER_BYTES).nullish(),
    })
    .nullish(),
  rootfs: z.object({ diff_ids: z.array(Digest) }),
});

export interface ImageConfig {
  env: Record<string, string>;
  workdir: string;
  user: string;
}

/** @throws ServiceError `image_invalid`. */
export async function readLayout(dir: string): Promise<{ id: string; config: ImageConfig }> {
  try {
    const blob = (digest: string): Promise<unknown> =>
      readJson(join(dir, 'blobs', 'sha256', digest.slice('sha256:'.length)));
    const index = Index.parse(await readJson(join(dir, 'index.json')));
    const first = index.manifests[0];
    const manifest = Manifest.parse(await blob(first?.digest ?? ''));
    const { config, os, architecture, rootfs } = Config.parse(await blob(manifest.config.digest));
    // The unpacker verifies only the layers that are listed. With some missing, it would accept them as the image of
    // this id.
    if (manifest.layers.length !== rootfs.diff_ids.length)
      throw new Error('its layers are not those that its configuration lists');
    if (!runsHere(os, architecture))
      throw new ServiceError('image_invalid', `the image is for ${os} on ${architecture}`);
    return {
      id: manifest.config.digest,
      config: {
        env: { PATH: DEFAULT_PATH, ...parseEnv(config?.Env ?? []) },
        ...placeAndUser(config),
      },
    };
  } catch (error) {
    if (error instanceof ServiceError) throw error;
    throw new ServiceError('image_invalid', 'the image is not a well-formed OCI image', { cause: error });
  }
}

async function readJson(path: string): Promise<unknown> {
  if ((await stat(path)).size > MAX_JSON_BYTES) throw new Error(`${path} is too large`);
  return JSON.parse(await readFile(path, 'utf8')) as unknown;
}

/** Parses `NAME=VALUE` entries; entries without a name are dropped. */
export function parseEnv(entries: readonly string[]): Record<string, string> {
  const named = entries.map((entry) => [entry, entry.indexOf('=')] as const).filter(([, at]) => at > 0);
  return Object.fromEntries(named.map(([entry, at]) => [entry.slice(0, at), entry.slice(at + 1)]));
}

/** Where programs start, and as whom. `name:`, whose group was left empty, is `name`, as in Docker. */
export function placeAndUser(
  config: { WorkingDir?: string | null | undefined; User?: string | null | undefined } | null | undefined,
): Pick<ImageConfig, 'workdir' | 'user'> {
  return { workdir: posix.resolve('/', config?.WorkingDir ?? ''), user: (config?.User ?? '').replace(/:$/, '') };
}
