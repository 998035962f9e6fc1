/** Describes what a schema found wrong with a value, for whoever sent it. */
import type * as z from 'zod';

/** For an invalid key of a record, the message of the key's own schema: zod's says only that the key is invalid. */
export const messageOf = (issue: z.core.$ZodIssue): string =>
  issue.code === 'invalid_key' ? (issue.issues[0]?.message ?? issue.message) : issue.message;

/** `path.to.field: what is wrong`; without a path if it concerns the whole value. */
export function problem(issue: z.core.$ZodIssue): string {
  const path = issue.path.map(String).join('.');
  return path === '' ? messageOf(issue) : `${path}: ${messageOf(issue)}`;
}

export function firstProblem({ issues: [first] }: z.ZodError): string {
  return first === undefined ? 'not valid' : problem(first);
}
