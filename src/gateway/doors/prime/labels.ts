/**
 * What this wire knows of a sandbox and the services do not, kept where every gateway finds it again: in the sandbox's
 * own labels, under a prefix. Labels of this wire are plain words; each is a label of that name with no value.
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
  /** As asked for, before the rewrite. Null: as it is. */
  image: string | null;
  team: string | null;
  region: string | null;
  secretNames: readonly string[];
};

/** @throws ServiceError `invalid_request` for a label that takes our prefix. */
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

/** The words, without what is ours. */
export function wordsOf(labels: Record<string, string>): string[] {
  return Object.keys(labels).filter((key) => labels[key] === '' && !key.startsWith(PREFIX));
}

/** Of a sandbox that came through another door: defaults. */
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

/** Labels can be written by other doors too: what is not ours is as good as nothing. */
function parse(text: string | undefined): unknown {
  try {
    const value: unknown = JSON.parse(text ?? '{}');
    return Facts.safeParse(value).success ? value : {};
  } catch {
    return {};
  }
}

/** Names are lines; as many as fit in a value. A name too long for one is left out of what is shown. */
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
