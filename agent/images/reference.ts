/** Image references as `docker pull` takes them: `python`, `python:3.12`, `ghcr.io/org/name@sha256:…`. */
import { ServiceError } from '../../src/protocol/errors.ts';

export interface Reference {
  registry: string;
  repository: string;
  tag: string | null;
  digest: string | null;
}

const DEFAULT_REGISTRY = 'docker.io';
const REPOSITORY = /^[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*)*$/;
const TAG = /^[\w][\w.-]{0,127}$/;
const DIGEST = /^sha256:[a-f0-9]{64}$/;
/** What Docker takes for the id of an image, and never asks a registry for. */
const ID = /^(?:sha256:)?[a-f0-9]{64}$/;
const REGISTRY =
  /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*)(?::\d{1,5})?$/;

/** Whether this is the id of an image: of one that is on the node, not of anything that a registry has. */
export const isImageId = (text: string): boolean => DIGEST.test(text);

/** @throws ServiceError `image_invalid`. */
export function parseReference(text: string): Reference {
  const [named = '', digest = null, ...more] = text.split('@');
  const first = named.split('/')[0] ?? '';
  // Docker's rule: a first part with a dot or a port, or `localhost`, is a registry.
  const hasRegistry = named.includes('/') && (/[.:]/.test(first) || first === 'localhost');
  const registry = hasRegistry ? first : DEFAULT_REGISTRY;
  const rest = hasRegistry ? named.slice(first.length + 1) : named;
  const colon = rest.lastIndexOf(':');
  const path = colon === -1 ? rest : rest.slice(0, colon);
  const tag = colon === -1 ? null : rest.slice(colon + 1);
  const repository = registry === DEFAULT_REGISTRY && !path.includes('/') ? `library/${path}` : path;
  const valid =
    !ID.test(text) &&
    more.length === 0 &&
    REGISTRY.test(registry) &&
    repository.length <= 255 &&
    REPOSITORY.test(repository) &&
    (tag === null || TAG.test(tag)) &&
    (digest === null || DIGEST.test(digest));
  if (!valid) throw new ServiceError('image_invalid', `"${text.slice(0, 200)}" is not an image reference`);
  return { registry, repository, tag: tag ?? (digest === null ? 'latest' : null), digest };
}

/** The one spelling of all references to the same image, used as the index's key. A tag beside a digest is dropped. */
export function canonical(reference: Reference): string {
  const name = `${reference.registry}/${reference.repository}`;
  return reference.digest === null ? `${name}:${reference.tag ?? 'latest'}` : `${name}@${reference.digest}`;
}

/** A canonical reference as people write it, without the parts that Docker fills in. */
export function familiar(reference: string): string {
  return reference.replace(/^docker\.io\//, '').replace(/^library\//, '');
}
