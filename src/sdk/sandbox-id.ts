import { withDeadline } from '../lib/deadline.ts';
import type { CallOptions } from './http.ts';

/**
 * The id of a sandbox whose create may still be in progress, which may take minutes: the limits of the call that needs
 * the id apply to that wait too.
 * @throws why there is no sandbox, the signal's reason, ServiceError `deadline_exceeded`
 */
export function idOf(sandbox: string | Promise<string>, { signal, deadlineMs }: CallOptions): string | Promise<string> {
  return typeof sandbox === 'string'
    ? sandbox
    : withDeadline({ signal, deadlineMs, what: 'the create' }, () => sandbox);
}
