/** Environment variables that a caller gave. */
import { ServiceError } from '../protocol/errors.ts';

/**
 * The service says which option is wrong; of a hundred variables, this says which one, and why.
 * @throws ServiceError `invalid_request`
 */
export function checkVariables(option: 'env' | 'secrets', variables: Readonly<Record<string, unknown>> = {}): void {
  for (const [name, value] of Object.entries(variables ?? {})) {
    const fault = faultOf(name, value);
    if (fault !== undefined) throw new ServiceError('invalid_request', `${option}: ${JSON.stringify(name)}: ${fault}`);
  }
}

function faultOf(name: string, value: unknown): string | undefined {
  if (name === '') return 'a variable has a name';
  if (name.includes('=')) return 'the name of a variable has no "="';
  if (name.includes('\0')) return 'the name of a variable has no zero byte';
  // One that is undefined is as good as not given.
  if (value !== undefined && typeof value !== 'string') return 'the value of a variable is a text';
  return value?.includes('\0') ? 'the value of a variable has no zero byte' : undefined;
}
