/** Authentication by API key. Keys are kept as hashes. */
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
  /** From now on only these keys are valid. */
  replace(keys: readonly ApiKey[]): void;
  /** Whether the caller's key is still valid, for the same tenant and with the same rights. */
  isValid(caller: Caller): boolean;
  /** Calls the listener after each `replace`, until the returned function is called. The listener must not throw. */
  onReplace(listener: () => void): () => void;
}

const MAX_KEY_LENGTH = 1024;

export function createAuth(initial: readonly ApiKey[]): Auth {
  let keys = initial;
  const listeners = new Set<() => void>();
  /** Hash of the key that each caller used. */
  const keyHashes = new WeakMap<Caller, Buffer>();
  const find = (hash: Buffer): ApiKey | undefined => {
    let found: ApiKey | undefined;
    // Compare with all keys even after a match, so that the time taken does not reveal which one it was.
    for (const candidate of keys) if (timingSafeEqual(candidate.sha256, hash)) found ??= candidate;
    return found;
  };
  const byKey = (key: string | undefined): Caller => {
    if (key === undefined || key === '' || key.length > MAX_KEY_LENGTH) throw new ServiceError('unauthenticated');
    const hash = createHash('sha256').update(key).digest();
    const found = find(hash);
    if (found === undefined) throw new ServiceError('unauthenticated');
    const caller = { tenant: found.tenant, admin: found.admin };
    keyHashes.set(caller, hash);
    return caller;
  };
  return {
    byKey,
    byHeader: (header) => byKey(/^Bearer +([^\s]+) *$/i.exec(header ?? '')?.[1]),
    replace(next) {
      keys = next;
      for (const listener of [...listeners]) listener();
    },
    isValid(caller) {
      const hash = keyHashes.get(caller);
      const key = hash === undefined ? undefined : find(hash);
      return key !== undefined && key.tenant === caller.tenant && key.admin === caller.admin;
    },
    onReplace(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}

/** @throws ServiceError `forbidden` */
export function assertAdmin(caller: Caller): void {
  if (!caller.admin) throw new ServiceError('forbidden');
}
