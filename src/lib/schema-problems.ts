/** What a schema found wrong with a value, in words for whoever sent it. */
import type * as z from 'zod';

/** Of a name that may not be one, what its own schema says of it: zod's message is only that there is such a name. */
export const messageOf = (issue: z.core.$ZodIssue): string =>
  issue.code === 'invalid_key' ? (issue.issues[0]?.message ?? issue.message) : issue.message;

/** `path.to.field: what is wrong`; without a path where the whole value is wrong. */
export function problem(issue: z.core.$ZodIssue): string {
  const path = issue.path.map(String).join('.');
  return path === '' ? messageOf(issue) : `${path}: ${messageOf(issue)}`;
}

export function firstProblem({ issues: [first] }: z.ZodError): string {
  return first === undefined ? 'not valid' : problem(first);
}
