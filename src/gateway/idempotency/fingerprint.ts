/** What a request is told from others by; the request itself, with its secrets, is not kept. */
import { createHash } from 'node:crypto';
import * as z from 'zod';
import type { IdempotentCall } from './store.ts';

/** Of what is done below. Another number, and nothing is compared with prints of before. */
const VERSION = 2;

export interface Fingerprint {
  print: string;
  /** Prints of two forms say nothing of each other. */
  form: string;
}

export function fingerprintOf({ request, form = '' }: IdempotentCall): Fingerprint {
  return { print: digest(JSON.stringify(request, inOrder)), form: `${VERSION}:${form}` };
}

/**
 * A name for what requests of this schema look like once they are read. It is another one as soon as there are other
 * fields, defaults or bounds: then the same words of a client may be read as something else.
 */
export function formOf(schema: z.ZodType): string {
  return digest(JSON.stringify(z.toJSONSchema(schema, { unrepresentable: 'any' }), inOrder)).slice(0, 16);
}

const digest = (text: string): string => createHash('sha256').update(text).digest('base64');

/** Members of an object have no order: clients that keep them in a hash table send them differently each time. */
function inOrder(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}
