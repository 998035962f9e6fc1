/** Decides whether two requests for a job under the same id are the same. */
import { createHash } from 'node:crypto';
import type { ParsedExec } from '../link/exec-request.ts';

/**
 * A hash of what is run. Limits and output options may differ between attempts. For a script sent as data only the
 * length counts, since its text has not arrived yet.
 */
export function requestFingerprint(exec: ParsedExec): string {
  const { argv, command, scriptBytes, shell, cwd, env, user, stdin, pty, background } = exec;
  // Sorted, because the order of object members is not significant.
  const variables = Object.entries(env ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  const flags = [stdin === true, pty !== undefined, background === true];
  const parts = [argv, command, scriptBytes, shell, cwd, user].map((part) => part ?? null);
  return createHash('sha256')
    .update(JSON.stringify([...parts, ...flags, variables]))
    .digest('base64');
}
