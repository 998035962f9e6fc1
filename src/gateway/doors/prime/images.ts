/** Image names: the operator's map, and the operator's list of what may be used. */
import { ServiceError } from '../../../protocol/errors.ts';
import type { PrimeConfig } from './config.ts';

/**
 * The name that is pulled, for the name that was asked for.
 * @throws ServiceError `forbidden` when it is not on the list.
 */
export function resolveImage(asked: string, config: Pick<PrimeConfig, 'imageMap' | 'imageAllow'>): string {
  const image = rewrite(asked, config.imageMap);
  if (config.imageAllow.length > 0 && !config.imageAllow.some((pattern) => matches(pattern, image) !== null)) {
    throw new ServiceError('forbidden', `The image ${image} is not on this server's list of allowed images.`);
  }
  return image;
}

/** The first rule that fits; none: the name as it is. */
function rewrite(asked: string, rules: PrimeConfig['imageMap']): string {
  for (const { from, to } of rules) {
    const rest = matches(from, asked);
    if (rest !== null) return to.endsWith('*') ? to.slice(0, -1) + rest : to;
  }
  return asked;
}

/** What the star stands for; null when the name does not fit. */
function matches(pattern: string, name: string): string | null {
  if (!pattern.endsWith('*')) return pattern === name ? '' : null;
  const prefix = pattern.slice(0, -1);
  return name.startsWith(prefix) ? name.slice(prefix.length) : null;
}
