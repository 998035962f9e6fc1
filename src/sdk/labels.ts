/** Labels, by which sandboxes are found. They are asked for as `name=value`, in which the first `=` ends the name. */
import { ServiceError } from '../protocol/errors.ts';

/**
 * What none of our calls would find is not made: a clean-up by label would pass it over.
 * @throws ServiceError `invalid_request`
 */
export function checkLabels(labels: Readonly<Record<string, unknown>> = {}): void {
  for (const [name, value] of Object.entries(labels ?? {})) {
    // One that is undefined is as good as not given.
    if (value !== undefined) pairOf(name, value);
  }
}

/** @throws ServiceError `invalid_request` for what would be read as another label, or as fewer of them. */
export function labelPairs(labels: Record<string, string>): [string, string][] {
  return Object.entries(labels).map(([name, value]) => ['label', pairOf(name, value)]);
}

function pairOf(name: string, value: unknown): string {
  if (name.includes('=')) throw new ServiceError('invalid_request', `no label is found by a name with "=": ${name}`);
  if (typeof value !== 'string') throw new ServiceError('invalid_request', `the label ${name} has a text as its value`);
  return `${name}=${value}`;
}
