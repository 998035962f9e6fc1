/** Keys under which a repeated call is the same call. They must survive a header of HTTP, which would trim or refuse others. */
import { ServiceError } from './errors.ts';

const IDEMPOTENCY_KEY = /^[\x21-\x7e]{1,255}$/;

/**
 * @param what how the caller calls it
 * @throws ServiceError `invalid_request`
 */
export function checkKey(value: unknown, what: string): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value === 'string' && IDEMPOTENCY_KEY.test(value)) return value;
  throw new ServiceError('invalid_request', `${what} must be 1 to 255 visible ASCII characters`);
}
