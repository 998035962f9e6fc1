/** Kinds of settings that stand in the environment as text. */
import * as z from 'zod';

/** A whole number within bounds; `fallback` where nothing is given. */
export const wholeNumber = (min: number, max: number, fallback: number) =>
  z
    .string()
    .regex(/^\d{1,12}$/, 'not a whole number')
    .transform(Number)
    .pipe(z.number().min(min).max(max))
    .default(fallback);
