/** Image names: the operator's rewrite rules and allow list. */
import { ServiceError } from '../../../protocol/errors.ts';
import type { PrimeConfig } from './config.ts';

/**
 * The image to pull for the requested name.
 * @throws ServiceError `forbidden` when it is not on the allow list.
 */
export function resolveImage(asked: string, config: Pick<PrimeConfig, 'imageMap' | 'imageAllow'>): string {
  const image = rewrite(asked, config.imageMap);
  if (config.imageAllow.length > 0 && !config.imageAllow.some((pattern) => matches(pattern, image) !== null)) {
    throw new ServiceError('forbidden', `the image ${image} is not on this server's list of allowed images`);
  }
  return image;
}

/** Applies the first matching rule; without one the name stays as it is. */
function rewrite(asked: string, rules: PrimeConfig['imageMap']): string {
  for (const { from, to } of rules) {
    const rest = matches(from, asked);
    if (rest !== null) return to.endsWith('*') ? to.slice(0, -1) + rest : to;
  }
  return asked;
}

/** The part of the name that `*` stands for; null when the pattern does not match. */
function matches(pattern: string, name: string): string | null {
  if (!pattern.endsWith('*')) return pattern === name ? '' : null;
  const prefix = pattern.slice(0, -1);
  return name.startsWith(prefix) ? name.slice(prefix.length) : null;
}
