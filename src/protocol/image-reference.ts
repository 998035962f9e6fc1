/**
 * Image references as `docker pull` takes them: `python`, `python:3.12`, `ghcr.io/org/name@sha256:…`. All parts of the
 * service parse them with this grammar, which is Docker's, so that they agree on which image is meant.
 */
import { ServiceError } from './errors.ts';

export interface ImageReference {
  registry: string;
  repository: string;
  /** Null only if there is a digest. */
  tag: string | null;
  digest: string | null;
}

const DEFAULT_REGISTRY = 'docker.io';
/** An older name of the default registry, which clients and their credential files still use. */
const OLD_DEFAULT_REGISTRY = 'index.docker.io';
/** Where the default registry keeps images whose names have a single component. */
const OFFICIAL = 'library';

/** Longer than any valid reference. */
const MAX_LENGTH = 1_024;
const MAX_HOST_LENGTH = 255;
const MAX_REPOSITORY_LENGTH = 255;
const LABEL = /[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?/.source;
const HOST = new RegExp(`^${LABEL}(?:\\.${LABEL})*(?::\\d{1,5})?$`);
const PART = /[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*/.source;
const REPOSITORY = new RegExp(`^${PART}(?:/${PART})*$`);
const TAG = /^\w[\w.-]{0,127}$/;
const DIGEST = /^sha256:[a-f0-9]{64}$/;
const ID = /^(?:sha256:)?[a-f0-9]{64}$/;

/** Whether this is an image id: it names an image on a node, never one in a registry. */
export const isImageId = (text: string): boolean => ID.test(text);

/** Undefined if it is not a reference, or is an image id. */
export function parseImageReference(text: string): ImageReference | undefined {
  if (text.length > MAX_LENGTH || isImageId(text)) return undefined;
  const at = text.indexOf('@');
  const digest = at === -1 ? null : text.slice(at + 1);
  const named = at === -1 ? text : text.slice(0, at);
  const { host, rest } = splitHost(named);
  const colon = rest.indexOf(':');
  const tag = colon === -1 ? null : rest.slice(colon + 1);
  const path = colon === -1 ? rest : rest.slice(0, colon);
  const registry = host === null || host === OLD_DEFAULT_REGISTRY ? DEFAULT_REGISTRY : host;
  const repository = registry === DEFAULT_REGISTRY && !path.includes('/') ? `${OFFICIAL}/${path}` : path;
  const valid =
    registry.length <= MAX_HOST_LENGTH &&
    HOST.test(registry) &&
    repository.length <= MAX_REPOSITORY_LENGTH &&
    REPOSITORY.test(repository) &&
    (tag === null || TAG.test(tag)) &&
    (digest === null || DIGEST.test(digest));
  if (!valid) return undefined;
  return { registry, repository, tag: tag ?? (digest === null ? 'latest' : null), digest };
}

/** Docker's rule: a first component with a dot or a port, or `localhost`, is a registry. */
function splitHost(named: string): { host: string | null; rest: string } {
  const slash = named.indexOf('/');
  const first = named.slice(0, Math.max(0, slash));
  const isHost = /[.:]/.test(first) || first === 'localhost';
  return isHost ? { host: first, rest: named.slice(slash + 1) } : { host: null, rest: named };
}

/** @throws ServiceError `image_invalid`. */
export function imageReference(text: string): ImageReference {
  const reference = parseImageReference(text);
  if (reference !== undefined) return reference;
  throw new ServiceError('image_invalid', `"${text.slice(0, 200)}" is not an image reference`);
}

/** The one spelling of all references to the same image. A tag beside a digest is dropped, since it is ignored. */
export function canonical({ registry, repository, tag, digest }: ImageReference): string {
  return digest === null ? `${registry}/${repository}:${tag ?? 'latest'}` : `${registry}/${repository}@${digest}`;
}

/** The usual spelling, without the defaults that Docker fills in, as long as it still names the same image. */
export function familiar(reference: ImageReference): string {
  const whole = canonical(reference);
  const short = [`${DEFAULT_REGISTRY}/${OFFICIAL}/`, `${DEFAULT_REGISTRY}/`]
    .filter((prefix) => whole.startsWith(prefix))
    .map((prefix) => whole.slice(prefix.length));
  return short.find((text) => isSame(text, whole)) ?? whole;
}

function isSame(text: string, whole: string): boolean {
  const read = parseImageReference(text);
  return read !== undefined && canonical(read) === whole;
}
