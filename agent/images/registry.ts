/** Getting an image out of a registry, with skopeo, as an OCI layout on disk. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ServiceError } from '../../src/protocol/errors.ts';
import { canonical, type Reference } from './reference.ts';
import { runTool, ToolError } from './run-tool.ts';

export interface RegistryConfig {
  /** A Docker `config.json` with credentials; given to skopeo by path, never by argument. */
  authFile?: string | undefined;
  /** Registry name → where to ask instead: `docker.io` → `mirror.local:5000`. */
  mirrors: Readonly<Record<string, string>>;
  /** Registries spoken to without TLS. Loopback ones always are, as Docker does. */
  insecure: readonly string[];
}

const PULL_MS = 30 * 60_000;
const PROGRESS_EVERY_MS = 500;

/**
 * Copies an image into the layout at `dir` under the name `image`.
 * @throws ServiceError `image_not_found`, `image_unauthorized`, `image_unreachable`, `image_invalid`.
 */
export async function copyFromRegistry(
  reference: Reference,
  dir: string,
  config: RegistryConfig,
  options: { signal?: AbortSignal; onProgress: (doneBytes: number, message: string) => void },
): Promise<void> {
  const registry = config.mirrors[reference.registry] ?? reference.registry;
  const source = canonical({ ...reference, registry });
  const plain = isLoopback(registry) || config.insecure.includes(registry);
  let message = 'pulling';
  let looking = false;
  const look = async (): Promise<void> => {
    if (looking) return;
    looking = true;
    options.onProgress(await blobBytes(dir), message);
    looking = false;
  };
  const ticker = setInterval(() => void look(), PROGRESS_EVERY_MS);
  try {
    await runTool(
      'skopeo',
      [
        'copy',
        '--insecure-policy',
        '--retry-times=2',
        ...(plain ? ['--src-tls-verify=false'] : []),
        ...(config.authFile === undefined ? [] : [`--src-authfile=${config.authFile}`]),
        `docker://${source}`,
        `oci:${dir}:image`,
      ],
      { deadlineMs: PULL_MS, signal: options.signal, onLine: (line) => (message = line.slice(0, 200)) },
    );
  } catch (error) {
    throw pullError(error, canonical(reference));
  } finally {
    clearInterval(ticker);
  }
}

function isLoopback(registry: string): boolean {
  return /^(localhost|127(\.\d+){3})(:\d+)?$/.test(registry);
}

async function blobBytes(dir: string): Promise<number> {
  const blobs = join(dir, 'blobs', 'sha256');
  let total = 0;
  try {
    for (const name of await readdir(blobs)) total += (await stat(join(blobs, name))).size;
  } catch {
    // Not there yet, or just renamed.
  }
  return total;
}

/** skopeo tells what failed only in words. */
function pullError(error: unknown, image: string): ServiceError {
  if (!(error instanceof ToolError)) return ServiceError.from(error);
  const words = error.output;
  const cause = { cause: error };
  if (/manifest unknown|name unknown|not found|repository name not known|status 404/i.test(words)) {
    return new ServiceError('image_not_found', `there is no image ${image}`, cause);
  }
  if (/unauthorized|authentication required|denied|status 40[13]|forbidden/i.test(words)) {
    return new ServiceError(
      'image_unauthorized',
      `the registry does not give us ${image}; are its credentials set?`,
      cause,
    );
  }
  if (
    /connection refused|no such host|timeout|dial tcp|network is unreachable|connection reset|EOF|tls:|x509|server misbehaving|status 5\d\d/i.test(
      words,
    )
  ) {
    return new ServiceError('image_unreachable', `the registry of ${image} cannot be reached`, cause);
  }
  return new ServiceError('image_invalid', `${image} could not be pulled`, cause);
}
