/** Fingerprints tell requests apart without keeping the requests, which may hold secrets. */
import { createHash } from 'node:crypto';
import * as z from 'zod';
import type { IdempotentCall } from './store.ts';

/** Version of the algorithm below. Raise it when that changes: fingerprints of other versions are not compared. */
const VERSION = 2;

export interface Fingerprint {
  print: string;
  /** Fingerprints of different forms cannot be compared. */
  form: string;
}

export function fingerprintOf({ request, form = '' }: IdempotentCall): Fingerprint {
  return { print: digest(JSON.stringify(request, inOrder)), form: `${VERSION}:${form}` };
}

/**
 * Identifies the schema that a request was parsed with. It changes with any field, default or bound, because the same
 * body may then parse to something else.
 */
export function formOf(schema: z.ZodType): string {
  return digest(JSON.stringify(z.toJSONSchema(schema, { unrepresentable: 'any' }), inOrder)).slice(0, 16);
}

const digest = (text: string): string => createHash('sha256').update(text).digest('base64');

/** Sorts the members of objects: clients that keep them in a hash table send them in a different order each time. */
function inOrder(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}
