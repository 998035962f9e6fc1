/** By what one request for a job is told from another under the same id. */
import { createHash } from 'node:crypto';
import type { ParsedExec } from '../link/exec-request.ts';

/**
 * Of what runs; limits, and what becomes of the output, may change from one try to the next. Of a script that comes as
 * data its length counts: its text is not here yet.
 */
export function requestFingerprint(exec: ParsedExec): string {
  const { argv, command, scriptBytes, shell, cwd, env, user, stdin, pty, background } = exec;
  // The members of an object have no order.
  const variables = Object.entries(env ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  const flags = [stdin === true, pty !== undefined, background === true];
  const parts = [argv, command, scriptBytes, shell, cwd, user].map((part) => part ?? null);
  return createHash('sha256')
    .update(JSON.stringify([...parts, ...flags, variables]))
    .digest('base64');
}
