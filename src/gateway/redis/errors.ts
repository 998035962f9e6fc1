/** What an error of Redis says, in a word. Its message may quote the command that it is about, and with it a secret. */

/** First words by which Redis names what it refuses. */
const NAMED =
  /^(?:NOAUTH|WRONGPASS|NOPERM|READONLY|OOM|MISCONF|NOREPLICAS|LOADING|MASTERDOWN|CLUSTERDOWN|MOVED|BUSY)\b/;

const SAID: Readonly<Record<string, string>> = {
  NOAUTH: 'it wants a password',
  WRONGPASS: 'it does not know this user or password',
  NOPERM: 'this user may not do what gateways do',
  READONLY: 'it is a replica, and takes no writes',
  OOM: 'its memory is full',
  MISCONF: 'it cannot write to its disk, and takes no writes',
  NOREPLICAS: 'it has too few replicas, and takes no writes',
  LOADING: 'it reads what it had written down',
};

/** `READONLY`, `ECONNREFUSED`, …; null where it is none of those that are known. */
export function codeOf(error: unknown): string | null {
  if (!(error instanceof Error)) return null;
  const [named] = NAMED.exec(error.message) ?? [];
  if (named !== undefined) return named;
  const { code } = error as NodeJS.ErrnoException;
  return typeof code === 'string' && /^[A-Z0-9_]{1,64}$/.test(code) ? code : null;
}

/** Says nothing of why. */
export const ENDED = 'the connection has ended';

/** For the log. */
export function reasonOf(error: unknown): string {
  const code = codeOf(error);
  if (code !== null) return SAID[code] === undefined ? code : `${SAID[code]} (${code})`;
  const message = error instanceof Error ? error.message : '';
  return /^(?:Command timed out|Socket timeout)/.test(message) ? 'it does not answer' : ENDED;
}
