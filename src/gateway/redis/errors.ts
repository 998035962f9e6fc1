/** Classifies errors of Redis. Their messages are never logged: they may quote the command, and with it a secret. */

/** ioredis's name for an error that a server has answered with. */
const REPLY_ERROR = 'ReplyError';
/**
 * A server in one of these states takes no commands, or no writes: the link notices that itself, and treats it as being
 * away.
 */
const STATES: ReadonlySet<string> = new Set([
  'NOAUTH',
  'WRONGPASS',
  'READONLY',
  'OOM',
  'MISCONF',
  'NOREPLICAS',
  'LOADING',
  'MASTERDOWN',
  'CLUSTERDOWN',
  'BUSY',
]);

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

/** Why a server that takes commands refused one, or a script of ours failed there. Null for any other error. */
export function refusalOf(error: unknown): string | null {
  if (!(error instanceof Error) || error.name !== REPLY_ERROR) return null;
  const [word = 'ERR'] = /^[A-Z]{2,32}\b/.exec(error.message) ?? [];
  if (STATES.has(word)) return null;
  const [, line] = /\buser_script:(\d{1,6}):/.exec(error.message) ?? [];
  return `${REASONS[word] ?? 'it refused a command'} (${word}${line === undefined ? '' : `, line ${line} of a script`})`;
}

/**
 * The database of the address cannot be selected. The connection would go on in the first one, which may belong to
 * another installation.
 */
export function isWrongDatabase(error: unknown): boolean {
  if (!(error instanceof Error) || refusalOf(error) === null) return false;
  const { command } = error as { command?: { name?: unknown } };
  return command?.name === 'select';
}

/** A fault of this program, not of Redis or the network. */
export const isOurFault = (thrown: unknown): boolean =>
  [TypeError, RangeError, ReferenceError, SyntaxError].some((kind) => thrown instanceof kind);

/** `READONLY`, `ECONNREFUSED`, …; null for an error without a known code. */
export function codeOf(error: unknown): string | null {
  if (!(error instanceof Error)) return null;
  const [named] = NAMED.exec(error.message) ?? [];
  if (named !== undefined) return named;
  const { code } = error as NodeJS.ErrnoException;
  return typeof code === 'string' && /^[A-Z0-9_]{1,64}$/.test(code) ? code : null;
}

/** The reason when an error says nothing more specific. */
export const ENDED = 'the connection has ended';

/** For the log. */
export function reasonOf(error: unknown): string {
  const code = codeOf(error);
  if (code !== null) return REASONS[code] === undefined ? code : `${REASONS[code]} (${code})`;
  if (isWrongDatabase(error)) return 'the database in its address cannot be used';
  const message = error instanceof Error ? error.message : '';
  return /^(?:Command timed out|Socket timeout)/.test(message) ? 'it does not answer' : ENDED;
}

/** Whether it is a refusal that needs an operator, unlike a server that is not there. */
export function isRefusal(error: unknown): boolean {
  const code = codeOf(error);
  return isWrongDatabase(error) || (code !== null && code !== 'LOADING' && REASONS[code] !== undefined);
}
