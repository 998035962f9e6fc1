/** Copies an image from a registry, with skopeo, to an OCI layout on disk. */
import { createHash } from 'node:crypto';
import { mkdir, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ServiceError } from '../../src/protocol/errors.ts';
import { canonical, type ImageReference } from '../../src/protocol/image-reference.ts';
import { PULL_DEADLINE_MS } from '../../src/protocol/node.ts';
import { faultOfCredentials } from './credentials.ts';
import { forProcessor, isForOthers, OUR_PROCESSOR } from './processor.ts';
import { runTool, ToolError } from '../run-tool.ts';
import { hasInOrder } from './tool-output.ts';
import { whileProgressing } from './while-progressing.ts';

export interface RegistryConfig {
  /** A Docker `config.json` with credentials; passed to skopeo by path, never as an argument. */
  authFile?: string | undefined;
  /** Registry name → the host to use instead: `docker.io` → `mirror.local:5000`. */
  mirrors: Readonly<Record<string, string>>;
  /** Registries contacted without TLS. Loopback ones always are, as Docker does. */
  insecure: readonly string[];
  /** How long a registry may take to send the next MiB. Overridden in tests. */
  patienceMs?: number;
}

const PROGRESS_EVERY_MS = 500;
/** For a manifest and a configuration: a few MiB at most. */
const LOOK_DEADLINE_MS = 60_000;
/** A registry that trickles data would otherwise hold its turn until the deadline. */
const PATIENCE_MS = 120_000;
const LEAST_BYTES = 1024 * 1024;
const MESSAGE_CHARS = 200;
/** skopeo waits silently for as long as a registry that limits pulls asks for. */
const STALLED = 'is sending almost nothing: perhaps it limits the pulls of this node';

/**
 * Copies an image into the layout at `dir` under the name `image`.
 * @throws ServiceError `image_not_found`, `image_unauthorized`, `image_unreachable`, `image_invalid`.
 */
export async function copyFromRegistry(
  reference: ImageReference,
  dir: string,
  config: RegistryConfig,
  options: { signal?: AbortSignal; onProgress: (doneBytes: number, message: string) => void },
): Promise<void> {
  const { asked, url, plain, credentials } = sourceOf(reference, config);
  const temporary = join(dir, 'tmp');
  await mkdir(temporary, { recursive: true });
  let message = 'pulling';
  const look = async (): Promise<number> => {
    const bytes = await bytesBelow(dir);
    options.onProgress(bytes, message);
    return bytes;
  };
  const copy = [
    `--tmpdir=${temporary}`,
    'copy',
    '--insecure-policy',
    '--retry-times=2',
    // umoci, which unpacks the layers, supports no other.
    '--dest-compress-format=gzip',
    ...(plain ? ['--src-tls-verify=false'] : []),
    ...credentials('--src-'),
    url,
    `oci:${dir}:image`,
  ];
  const image = canonical(reference);
  try {
    await whileProgressing(
      {
        everyMs: PROGRESS_EVERY_MS,
        look,
        least: LEAST_BYTES,
        withinMs: config.patienceMs ?? PATIENCE_MS,
        stalled: () => new ServiceError('image_unreachable', `the registry of ${image} ${STALLED}`),
        signal: options.signal,
      },
      (signal) => {
        const onLine = (line: string): unknown => (message = line.slice(0, MESSAGE_CHARS));
        // Otherwise a registry that never finishes its response would keep skopeo running until the machine reboots.
        return forProcessor((processor) =>
          runTool('skopeo', [...processor, ...copy], {
            deadlineMs: PULL_DEADLINE_MS,
            signal,
            onLine,
            endsWithUs: true,
          }),
        );
      },
    );
    options.onProgress(await bytesBelow(dir), 'pulled');
  } catch (error) {
    throw await pullError(error, image, asked, config);
  }
}

/** Where to fetch an image from, and how. `plain`: without TLS. */
function sourceOf(
  reference: ImageReference,
  { mirrors, insecure, authFile }: RegistryConfig,
): { asked: ImageReference; url: string; plain: boolean; credentials(prefix: string): string[] } {
  const asked = { ...reference, registry: mirrors[reference.registry] ?? reference.registry };
  // A mirror may be a path within a registry.
  const host = asked.registry.split('/')[0] ?? asked.registry;
  return {
    asked,
    url: `docker://${canonical(asked)}`,
    plain: isLoopback(host) || insecure.includes(host),
    // Never the credentials of the agent's own user: anyone who may create a sandbox could use them.
    credentials: (prefix) => [authFile === undefined ? `${prefix}no-creds` : `${prefix}authfile=${authFile}`],
  };
}

/**
 * Whether the registry has this image under the reference now. Fetches only the manifest and configuration. A false
 * negative is possible, for instance when another version of skopeo copied the image.
 * @throws ServiceError as `copyFromRegistry`.
 */
export async function registryHas(
  reference: ImageReference,
  imageId: string,
  config: RegistryConfig,
  signal: AbortSignal,
): Promise<boolean> {
  const { asked, url, plain, credentials } = sourceOf(reference, config);
  const look = async (...form: string[]): Promise<string> => {
    const flags = [...(plain ? ['--tls-verify=false'] : []), ...credentials('--')];
    const ask = ['inspect', '--retry-times=2', '--config', ...form, ...flags, url];
    return await forProcessor((processor) =>
      runTool('skopeo', [...processor, ...ask], { deadlineMs: LOOK_DEADLINE_MS, signal, endsWithUs: true }),
    );
  };
  const isImage = (config: string): boolean => {
    return `sha256:${createHash('sha256').update(config).digest('hex')}` === imageId;
  };
  try {
    if (isImage(await look('--raw'))) return true;
    // The copy rewrites a configuration in Docker's format to this output without its indentation.
    return isImage(compact(await look()));
  } catch (error) {
    throw await pullError(error, canonical(reference), asked, config);
  }
}

function isLoopback(registry: string): boolean {
  return /^(localhost|127(\.\d+){3})(:\d+)?$/.test(registry);
}

/** Blobs that are complete, and those still arriving. */
async function bytesBelow(dir: string): Promise<number> {
  let total = 0;
  for (const entry of await readdir(dir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    // It may have been renamed meanwhile.
    const found = await stat(join(entry.parentPath, entry.name)).catch(() => undefined);
    total += found?.size ?? 0;
  }
  return total;
}

/**
 * Puts indented JSON on one line and leaves every value as written: no value contains a line break, and a key comes
 * first on its line.
 */
function compact(json: string): string {
  const lines = json.split('\n').map((line) => line.trim().replace(/^("(?:[^"\\]|\\.)*"): /, '$1:'));
  return lines.join('');
}

/** `asked`: the registry and name that were actually requested. */
async function pullError(
  error: unknown,
  image: string,
  asked: ImageReference,
  { authFile }: RegistryConfig,
): Promise<ServiceError> {
  const failure = failureOf(error, image, asked);
  if (failure.code !== 'image_unauthorized' || authFile === undefined) return failure;
  const fault = await faultOfCredentials(authFile, asked.registry.split('/')[0] ?? asked.registry);
  if (fault === undefined) return failure;
  // The tenant sees the message, the operator the cause in the log: the file, and whose entries it holds, are the
  // node's.
  const message = `the node's credentials for the registry of ${image} cannot be used: the agent's log has the reason`;
  return new ServiceError('image_unauthorized', message, {
    cause: new Error(`${authFile}: ${fault}`, { cause: error }),
  });
}

/** skopeo reports failures only as text. */
function failureOf(error: unknown, image: string, asked: ImageReference): ServiceError {
  if (!(error instanceof ToolError)) {
    const other = ServiceError.from(error);
    if (other.code !== 'deadline_exceeded') return other;
    return new ServiceError('image_unreachable', `the registry of ${image} is too slow`, { cause: error });
  }
  const words = withoutNames(error.output, asked);
  const cause = { cause: error };
  // The registry has not been contacted yet.
  if (/getting username and password/i.test(words)) {
    return new ServiceError('image_unauthorized', `the node has no usable credentials for ${image}`, cause);
  }
  if (isForOthers(error)) {
    return new ServiceError('image_invalid', `${image} is not available for linux on ${OUR_PROCESSOR}`, cause);
  }
  const status = statusIn(words);
  if (status === 429 || /toomanyrequests|too many requests/i.test(words)) {
    return new ServiceError(
      'image_unreachable',
      `the registry of ${image} accepts no more pulls from this node for now: try again later`,
      cause,
    );
  }
  if (hasInOrder(words, /\bblob\b/i, /\b(404|410|unknown|not found)/i)) {
    return new ServiceError('image_invalid', `the registry lacks a part of ${image}`, cause);
  }
  if (status === 404 || /manifest unknown|name unknown|not found|repository name not known/i.test(words)) {
    return new ServiceError('image_not_found', `there is no image ${image}`, cause);
  }
  if (status === 401 || status === 403 || /unauthorized|authentication required|denied|forbidden/i.test(words)) {
    return new ServiceError(
      'image_unauthorized',
      `the registry denied access to ${image}; are its credentials set?`,
      cause,
    );
  }
  if (
    status >= 500 ||
    /connection refused|no such host|timeout|dial tcp|network is unreachable|connection reset|EOF|tls:|x509|server misbehaving/i.test(
      words,
    )
  ) {
    return new ServiceError('image_unreachable', `the registry of ${image} cannot be reached`, cause);
  }
  return new ServiceError('image_invalid', `${image} could not be pulled`, cause);
}

/** The HTTP status that skopeo reports, in whichever of its phrases; 0 if there is none. */
const statusIn = (words: string): number =>
  Number(/\bstatus ?(?:code)?(?: from registry)?:? (\d{3})\b/i.exec(words)?.[1] ?? 0);

/** An image may be called `denied` or `timeout`, and its name then appears in any error message. */
function withoutNames(words: string, { registry, repository, tag }: ImageReference): string {
  return words
    .replaceAll(`${registry}/${repository}${tag === null ? '' : `:${tag}`}`, '')
    .replaceAll(`/v2/${repository}/`, '/v2/')
    .replaceAll(`/manifests/${tag ?? ''}`, '');
}
