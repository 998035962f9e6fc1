/** Parsers of option values. Their errors say what is accepted. */
import { InvalidArgumentError } from 'commander';

/** `90`, `90s`, `500ms`, `10m`, `2h`, `1d`, in milliseconds. A bare number means seconds. */
export function duration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)?$/.exec(text);
  if (match === null) throw new InvalidArgumentError('a duration, such as 500ms, 30s, 10m, 2h or 1d');
  const unit = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }[match[2] ?? 's'] as number;
  return Math.round(Number(match[1]) * unit);
}

/** `512`, `512m`, `2g`, in MB. */
export function megabytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([mg]b?)?$/i.exec(text);
  if (match === null) throw new InvalidArgumentError('a size in MB, or with a unit: 512, 512m, 2g');
  return Math.round(Number(match[1]) * (match[2]?.toLowerCase().startsWith('g') ? 1024 : 1));
}

/** NaN for a blank, which `Number` reads as 0. */
const numberOf = (text: string): number => (text.trim() === '' ? NaN : Number(text));

export function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError('a number above zero');
  return value;
}

export function whole(text: string): number {
  const value = numberOf(text);
  if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError('a whole number');
  return value;
}

/** An integer from `least` to `most`. */
export const between =
  (least: number, most: number) =>
  (text: string): number => {
    const value = numberOf(text);
    if (!Number.isInteger(value) || value < least || value > most) {
      throw new InvalidArgumentError(`a whole number from ${least} to ${most}`);
    }
    return value;
  };

export function integer(text: string): number {
  const value = numberOf(text);
  if (!Number.isSafeInteger(value)) throw new InvalidArgumentError('a whole number, which may be negative');
  return value;
}

/** Collects the `k=v` pairs of an option that may be repeated. */
export function pair(text: string, before: Record<string, string> = {}): Record<string, string> {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('NAME=VALUE');
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
}

/**
 * Collects labels. The first `=` ends the name, as it does for the service: so a value may contain one, but a name may
 * not. A sandbox has one value per name, so a second one would match nothing.
 */
export function label(text: string, before: Record<string, string> = {}): Record<string, string> {
  const [name, value] = Object.entries(pair(text))[0] as [string, string];
  if (Object.hasOwn(before, name) && before[name] !== value) {
    throw new InvalidArgumentError(`${name} already has the value ${before[name]}, and a label has only one`);
  }
  return { ...before, [name]: value };
}

/** `SANDBOX:PATH`, or a local path. A single letter before the colon, or a slash, makes it a local path. */
export function location(text: string): { sandbox: string | undefined; path: string } {
  const match = /^([a-z0-9][a-z0-9-]{3,63}):(.*)$/s.exec(text);
  if (match === null) return { sandbox: undefined, path: text };
  return { sandbox: match[1], path: match[2] === '' ? '.' : (match[2] as string) };
}

/** The words of a command, without a leading `--`, which Commander leaves in where options are passed through. */
export const withoutDashes = (words: string[]): string[] => (words[0] === '--' ? words.slice(1) : words);
