/** Who calls: API keys, kept as hashes. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { ServiceError } from '../../protocol/errors.ts';
import type { ApiKey } from '../config.ts';

export interface Caller {
  tenant: string;
  admin: boolean;
}

export interface Auth {
  /** @throws ServiceError `unauthenticated` */
  byKey(key: string | undefined): Caller;
  /** From an `Authorization: Bearer KEY` header. @throws ServiceError `unauthenticated` */
  byHeader(header: string | undefined): Caller;
}

const MAX_KEY_LENGTH = 1024;

export function createAuth(keys: readonly ApiKey[]): Auth {
  const byKey = (key: string | undefined): Caller => {
    if (key === undefined || key === '' || key.length > MAX_KEY_LENGTH) throw new ServiceError('unauthenticated');
    const hash = createHash('sha256').update(key).digest();
    let found: ApiKey | undefined;
    // All are compared, whichever fits: the time says nothing of how many there are or which it was.
    for (const candidate of keys) if (timingSafeEqual(candidate.sha256, hash)) found ??= candidate;
    if (found === undefined) throw new ServiceError('unauthenticated');
    return { tenant: found.tenant, admin: found.admin };
  };
  return {
    byKey,
    byHeader: (header) => byKey(/^Bearer +([^\s]+) *$/i.exec(header ?? '')?.[1]),
  };
}

/** @throws ServiceError `forbidden` */
export function assertAdmin(caller: Caller): void {
  if (!caller.admin) throw new ServiceError('forbidden');
}
