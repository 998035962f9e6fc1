/** Checks options by name. A misspelled one must not be ignored: it would silently have no effect. */
import { ServiceError } from '../protocol/errors.ts';
import type { CallOptions } from './http.ts';

/** All members of an options type; the compiler keeps the two in step. */
export type OptionNames<T> = Readonly<Record<keyof T, true>>;

export const CALL_OPTIONS: OptionNames<CallOptions> = { signal: true, deadlineMs: true };

/** Numbers that are not sent to the service, and may be infinite. */
const OURS: ReadonlySet<string> = new Set(['deadlineMs', 'patienceMs', 'resumeMs']);

/** Maximum edit distance of a suggestion. */
const MAX_SLIPS = 2;

/**
 * @param what the call, as its caller writes it
 * @throws ServiceError `invalid_request` for an unknown option, with the likely one, and for a number that JSON would
 * turn into `null`.
 */
export function checkOptions(what: string, options: object, names: Readonly<Record<string, true>>): void {
  if (typeof options !== 'object' || options === null) {
    throw new ServiceError('invalid_request', `${what}: options must be an object`);
  }
  for (const key in options) {
    const given = (options as Record<string, unknown>)[key];
    if (given !== undefined && !Object.hasOwn(names, key)) throw unknown(what, key, Object.keys(names));
    if (typeof given === 'number' && !isNumber(key, given)) {
      throw new ServiceError('invalid_request', `${what}: ${key} must be a number, not ${given}`);
    }
  }
  const { signal, deadlineMs } = options as CallOptions;
  if (deadlineMs !== undefined && typeof deadlineMs !== 'number') {
    throw new ServiceError('invalid_request', `${what}: deadlineMs must be a number`);
  }
  if (signal !== undefined && typeof signal?.addEventListener !== 'function') {
    throw new ServiceError('invalid_request', `${what}: signal must be an AbortSignal`);
  }
}

const isNumber = (key: string, given: number): boolean =>
  Number.isFinite(given) || (OURS.has(key) && !Number.isNaN(given));

/** For callers without a type checker. @throws ServiceError `invalid_request`. */
export function checkId(what: string, id: string): string {
  if (typeof id === 'string' && id !== '') return id;
  throw new ServiceError('invalid_request', `${what}: an id must be a string, not ${JSON.stringify(id)}`);
}

function unknown(what: string, key: string, names: string[]): ServiceError {
  const meant = names.find((name) => isLike(key.toLowerCase(), name.toLowerCase()));
  const instead = meant === undefined ? `the options are: ${names.join(', ')}` : `did you mean "${meant}"?`;
  return new ServiceError('invalid_request', `${what}: there is no option "${key}"; ${instead}`);
}

/** `timeout` for `timeoutMs`, `label` for `labels`, `evn` for `env`. */
function isLike(given: string, name: string): boolean {
  if (given.length < 2) return false;
  return name.startsWith(given) || given.startsWith(name) || slips(given, name) <= (name.length < 3 ? 1 : MAX_SLIPS);
}

/** The edit distance: how many letters to insert, delete or replace to turn one word into the other. */
function slips(from: string, to: string): number {
  if (Math.abs(from.length - to.length) > MAX_SLIPS) return Infinity;
  let row = Array.from({ length: to.length + 1 }, (_, i) => i);
  for (let i = 1; i <= from.length; i++) {
    const next = [i];
    for (let j = 1; j <= to.length; j++) {
      const replaced = row[j - 1]! + (from[i - 1] === to[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[to.length]!;
}
