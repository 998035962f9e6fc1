/** Settings from environment variables, and how gateway and agent read them. */
import * as z from 'zod';
import { problem } from './schema-problems.ts';

/** An integer within bounds; `fallback` if unset. */
export const wholeNumber = (min: number, max: number, fallback: number) =>
  z
    .string()
    .regex(/^\d{1,12}$/, 'not a whole number')
    .transform(Number)
    .pipe(z.number().min(min).max(max))
    .default(fallback);

/** A list, separated by commas or white space. */
export const words = (text: string): string[] => text.split(/[\s,]+/).filter((word) => word !== '');

/** An empty variable counts as unset. @throws Error that names the variable and the problem. */
export function readEnv<T>(schema: z.ZodType<T>, env: Record<string, string | undefined>): T {
  const present = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ''));
  const parsed = schema.safeParse(present);
  if (parsed.success) return parsed.data;
  throw new Error(parsed.error.issues.map(problem).join('; '));
}
