/** The parts of list and watch responses that are the same for all kinds of objects. */
import * as z from 'zod';
import { MalformedError } from './errors.ts';

export const ObjectHead = z.object({
  metadata: z.object({ name: z.string(), uid: z.string(), resourceVersion: z.string() }),
});
export const Bookmark = z.object({ metadata: z.object({ resourceVersion: z.string() }) });
export const Event = z.object({ type: z.string(), object: z.unknown() });
export const List = z.object({
  metadata: z.object({ resourceVersion: z.string(), continue: z.string().optional() }),
  items: z.array(z.unknown()).nullish(),
});

/** @throws MalformedError when it is larger than `max` bytes */
export async function textOf(body: AsyncIterable<Uint8Array>, max: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.byteLength;
    if (size > max) throw new MalformedError(`an answer of more than ${max} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size).toString('utf8');
}

/** @throws MalformedError */
export function parseAs<S extends z.ZodType>(schema: S, text: string, what: string): z.infer<S> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw new MalformedError(`${what} is not JSON`);
  }
  return checked(schema, parsed, what);
}

/** @throws MalformedError */
export function checked<S extends z.ZodType>(schema: S, value: unknown, what: string): z.infer<S> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new MalformedError(`${what} cannot be read (${parsed.error.issues[0]?.path.join('.') ?? ''})`);
}
