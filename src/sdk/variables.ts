/** Checks environment variables given by a caller. */
import { ServiceError } from '../protocol/errors.ts';

/**
 * The service only says which option is wrong; this says which of a hundred variables it is, and why.
 * @throws ServiceError `invalid_request`
 */
export function checkVariables(option: 'env' | 'secrets', variables: Readonly<Record<string, unknown>> = {}): void {
  for (const [name, value] of Object.entries(variables ?? {})) {
    const fault = faultOf(name, value);
    if (fault !== undefined) throw new ServiceError('invalid_request', `${option}: ${JSON.stringify(name)}: ${fault}`);
  }
}

function faultOf(name: string, value: unknown): string | undefined {
  if (name === '') return 'a variable must have a name';
  if (name.includes('=')) return 'the name of a variable cannot contain "="';
  if (name.includes('\0')) return 'the name of a variable cannot contain a zero byte';
  // An undefined one counts as not given.
  if (value !== undefined && typeof value !== 'string') return 'the value of a variable must be a string';
  return value?.includes('\0') ? 'the value of a variable cannot contain a zero byte' : undefined;
}
