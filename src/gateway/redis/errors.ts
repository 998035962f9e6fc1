/** Classifies errors of Redis. Their messages are never logged: they may quote the command, and with it a secret. */

/** First words of Redis error replies. */
const NAMED =
  /^(?:NOAUTH|WRONGPASS|NOPERM|READONLY|OOM|MISCONF|NOREPLICAS|LOADING|MASTERDOWN|CLUSTERDOWN|MOVED|BUSY)\b/;

const REASONS: Readonly<Record<string, string>> = {
  NOAUTH: 'it requires a password',
  WRONGPASS: 'the user name or password is wrong',
  NOPERM: 'this user lacks permissions that gateways need',
  READONLY: 'it is a replica, and takes no writes',
  OOM: 'its memory is full',
  MISCONF: 'it cannot write to its disk, and takes no writes',
  NOREPLICAS: 'it has too few replicas, and takes no writes',
  LOADING: 'it is loading its data',
};

/** `READONLY`, `ECONNREFUSED`, …; null for an error without a known code. */
export function codeOf(error: unknown): string | null {
  if (!(error instanceof Error)) return null;
  const [named] = NAMED.exec(error.message) ?? [];
  if (named !== undefined) return named;
  const { code } = error as NodeJS.ErrnoException;
  return typeof code === 'string' && /^[A-Z0-9_]{1,64}$/.test(code) ? code : null;
}

/** The reason of an error that says nothing more specific. */
export const ENDED = 'the connection has ended';

/** For the log. */
export function reasonOf(error: unknown): string {
  const code = codeOf(error);
  if (code !== null) return REASONS[code] === undefined ? code : `${REASONS[code]} (${code})`;
  const message = error instanceof Error ? error.message : '';
  return /^(?:Command timed out|Socket timeout)/.test(message) ? 'it does not answer' : ENDED;
}

/** Whether it is a refusal that an operator must do something about, unlike a server that is not there. */
export function isRefusal(error: unknown): boolean {
  const code = codeOf(error);
  return code !== null && code !== 'LOADING' && REASONS[code] !== undefined;
}
