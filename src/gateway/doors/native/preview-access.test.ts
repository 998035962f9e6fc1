import { expect, test } from 'vitest';
import { ServiceError } from '../../../protocol/errors.ts';
import type { Services } from '../../services.ts';
import { authenticate } from './preview-access.ts';

const target = { sandbox: 'sbx-1', port: 80, path: '/', token: 'token' };
const headers = { authorization: 'Bearer x' };

/** Services that know the token, and whose check of a key fails with this error. */
function services(error: Error): Services {
  const byHeader = (): never => {
    throw error;
  };
  return { auth: { byHeader }, ports: { tokens: { check: () => ({ tenant: 'red' }) } } } as unknown as Services;
}

test('a bearer token is passed to the server inside only if it was checked and is not a key', () => {
  expect(authenticate(services(new ServiceError('unauthenticated')), headers, target)).toEqual({
    tenant: 'red',
    keyAsBearer: false,
  });
  expect(() => authenticate(services(new TypeError('fault')), headers, target)).toThrow('fault');
});
