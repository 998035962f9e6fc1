/**
 * Attributes that the Prime API has and the services do not are kept in the sandbox's own labels under a prefix, where
 * every gateway finds them again. Prime labels are plain words; each becomes a label of that name with an empty value.
 */
import * as z from 'zod';
import { ServiceError } from '../../../protocol/errors.ts';

const PREFIX = 'prime/';
const MAX_VALUE = 250;

const Facts = z.object({
  vm: z.boolean().default(false),
  timeoutMinutes: z.number().default(60),
  idleTimeoutMinutes: z.number().nullable().default(null),
  diskGb: z.number().default(5),
});

export type Facts = z.infer<typeof Facts> & {
  /** The requested name, before the rewrite. Null: it was not rewritten. */
  image: string | null;
  team: string | null;
  region: string | null;
  secretNames: readonly string[];
};

/** @throws ServiceError `invalid_request` for a label with our prefix. */
export function toLabels(words: readonly string[], facts: Facts): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const word of words) {
    if (word.startsWith(PREFIX)) throw new ServiceError('invalid_request', `a label may not begin with ${PREFIX}`);
    labels[word] = '';
  }
  const { image, team, region, secretNames, ...rest } = facts;
  labels[`${PREFIX}facts`] = JSON.stringify(rest);
  if (image !== null) labels[`${PREFIX}image`] = image;
  if (team !== null) labels[`${PREFIX}team`] = team;
  if (region !== null) labels[`${PREFIX}region`] = region;
  chunks(secretNames).forEach((chunk, index) => (labels[`${PREFIX}secrets/${index}`] = chunk));
  return labels;
}

export const teamLabel = (team: string): Record<string, string> => ({ [`${PREFIX}team`]: team });

/** The client's own labels. */
export function wordsOf(labels: Record<string, string>): string[] {
  return Object.keys(labels).filter((key) => labels[key] === '' && !key.startsWith(PREFIX));
}

/** Defaults for a sandbox that was created through another API. */
export function factsOf(labels: Record<string, string>): Facts {
  const secretNames: string[] = [];
  for (let index = 0; ; index++) {
    const chunk = labels[`${PREFIX}secrets/${index}`];
    if (chunk === undefined) break;
    secretNames.push(...chunk.split('\n'));
  }
  return {
    ...Facts.parse(parse(labels[`${PREFIX}facts`])),
    image: labels[`${PREFIX}image`] ?? null,
    team: labels[`${PREFIX}team`] ?? null,
    region: labels[`${PREFIX}region`] ?? null,
    secretNames,
  };
}

/** Clients of other APIs can set these labels too: a value that is not ours counts as absent. */
function parse(text: string | undefined): unknown {
  try {
    const value: unknown = JSON.parse(text ?? '{}');
    return Facts.safeParse(value).success ? value : {};
  } catch {
    return {};
  }
}

/** Joins names by newlines, as many per label value as fit. A name that is too long for one is not shown to clients. */
function chunks(names: readonly string[]): string[] {
  const made: string[] = [];
  for (const name of names) {
    if (name.length > MAX_VALUE) continue;
    const last = made.at(-1);
    if (last !== undefined && last.length + 1 + name.length <= MAX_VALUE) made[made.length - 1] = `${last}\n${name}`;
    else made.push(name);
  }
  return made;
}
