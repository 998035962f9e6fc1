import type * as z from 'zod';

/** What a text says, if it is JSON of this form; undefined if it is not. */
export function parseJson<T>(schema: z.ZodType<T>, text: string): T | undefined {
  try {
    return schema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
