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

type Env = Record<string, string | undefined>;

/** An empty variable counts as unset. @throws Error that names each variable that is wrong, and the problem. */
export function readEnv<T>(schema: z.ZodType<T>, env: Env): T {
  const parsed = schema.safeParse(present(env));
  if (parsed.success) return parsed.data;
  throw new Error(parsed.error.issues.map(problem).join('; '));
}

/** As `readEnv`, for a schema in which every variable may be unset: one that is wrong counts as such. */
export function readValid<T>(schema: z.ZodType<T>, env: Env): { settings: T; problems: string[] } {
  const { error } = schema.safeParse(present(env));
  const issues = error?.issues ?? [];
  const wrong = new Set(issues.map(({ path }) => path[0]));
  const valid = Object.fromEntries(Object.entries(present(env)).filter(([name]) => !wrong.has(name)));
  return { settings: schema.parse(valid), problems: issues.map(problem) };
}

const present = (env: Env): Env =>
  Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ''));
