/** Labels, by which sandboxes are found. They are sent as `name=value`, where the first `=` ends the name. */
import { ServiceError } from '../protocol/errors.ts';

/**
 * A label that no call could find is refused: a clean-up by label would miss it.
 * @throws ServiceError `invalid_request`
 */
export function checkLabels(labels: Readonly<Record<string, unknown>> = {}): void {
  for (const [name, value] of Object.entries(labels ?? {})) {
    // An undefined one counts as not given.
    if (value !== undefined) pairOf(name, value);
  }
}

/** @throws ServiceError `invalid_request` for labels that would be read as different ones, or as fewer. */
export function labelPairs(labels: Record<string, string>): [string, string][] {
  return Object.entries(labels).map(([name, value]) => ['label', pairOf(name, value)]);
}

function pairOf(name: string, value: unknown): string {
  if (name.includes('=')) throw new ServiceError('invalid_request', `a label's name cannot contain "=": ${name}`);
  if (typeof value !== 'string')
    throw new ServiceError('invalid_request', `the value of the label ${name} must be a string`);
  return `${name}=${value}`;
}
