/** Exec ids derived from an idempotency key: a retry gets the same id, whichever gateway it reaches. */
import { createHash } from 'node:crypto';

export function execIdFor(tenant: string, sandbox: string, key: string): string {
  const hash = createHash('sha256')
    .update(JSON.stringify([tenant, sandbox, key]))
    .digest('hex');
  return `exe-${hash.slice(0, 32)}`;
}
