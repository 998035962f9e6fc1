/** Reading an OCI layout: which image it holds, and what that says about the programs that run in it. */
import { readFile, stat } from 'node:fs/promises';
import { join, posix } from 'node:path';
import * as z from 'zod';
import { ServiceError } from '../../src/protocol/errors.ts';

/** Of a manifest or a configuration; registries allow 4 MiB. */
const MAX_JSON_BYTES = 8 * 1024 * 1024;
/** What Docker gives to programs of an image that names none. */
export const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

const Digest = z.string().regex(/^sha256:[a-f0-9]{64}$/);
const Descriptor = z.object({ digest: Digest, size: z.number() });
const Index = z.object({ manifests: z.array(Descriptor).min(1) });
const Manifest = z.object({ config: Descriptor, layers: z.array(Descriptor).max(512) });
const Config = z.object({
  config: z
    .object({
      Env: z.array(z.string()).nullish(),
      WorkingDir: z.string().nullish(),
      User: z.string().nullish(),
    })
    .nullish(),
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
    const { config } = Config.parse(await blob(manifest.config.digest));
    return {
      id: manifest.config.digest,
      config: {
        env: { PATH: DEFAULT_PATH, ...parseEnv(config?.Env ?? []) },
        workdir: posix.resolve('/', config?.WorkingDir ?? ''),
        user: config?.User ?? '',
      },
    };
  } catch (error) {
    throw new ServiceError('image_invalid', 'the image is not a well-formed OCI image', { cause: error });
  }
}

async function readJson(path: string): Promise<unknown> {
  if ((await stat(path)).size > MAX_JSON_BYTES) throw new Error(`${path} is too large`);
  return JSON.parse(await readFile(path, 'utf8')) as unknown;
}

export function parseEnv(entries: readonly string[]): Record<string, string> {
  const env: Record<string, string> = {};
  for (const entry of entries) {
    const at = entry.indexOf('=');
    if (at > 0) env[entry.slice(0, at)] = entry.slice(at + 1);
  }
  return env;
}
