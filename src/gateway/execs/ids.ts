/** Ids of execs that are made from an idempotency key: a retry names the same exec, on whichever gateway it arrives. */
import { createHash } from 'node:crypto';

export function execIdFor(tenant: string, sandbox: string, key: string): string {
  const hash = createHash('sha256')
    .update(JSON.stringify([tenant, sandbox, key]))
    .digest('hex');
  return `exe-${hash.slice(0, 32)}`;
}
