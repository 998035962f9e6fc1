/** The tenants file: the tenants, their keys and their limits. docs/tenants.md describes it. */
import { readFileSync } from 'node:fs';
import * as z from 'zod';
import { problem } from '../../lib/schema-problems.ts';
import type { ApiKey } from '../config.ts';

/** Bounded because every call compares its key with all of them. */
const MAX_KEYS = 1_000;
const MAX_FILE_BYTES = 4 * 1024 * 1024;

/** Null means unlimited everywhere. */
const Rules = z
  .strictObject({
    /** Live sandboxes, including those that wait for room. The next two limit their resources. */
    sandboxes: z.int().min(0).max(10_000_000).nullable(),
    cpus: z.number().min(0).max(10_000_000).nullable(),
    memoryMb: z.int().min(0).max(1e12).nullable(),
    createsPerSecond: z.number().min(0.001).max(1_000_000).nullable(),
    /** Creates that may come at once after a pause. Null: one second's worth. */
    createBurst: z.int().min(1).max(1_000_000).nullable(),
    /** Concurrent commands. */
    execs: z.int().min(0).max(10_000_000).nullable(),
    /** Share of free capacity relative to other tenants while several are waiting. */
    weight: z.int().min(1).max(1_000),
  })
  .partial();

const Key = z.strictObject({
  sha256: z.string().regex(/^[0-9a-fA-F]{64}$/, 'not a SHA-256 in hexadecimal'),
  admin: z.boolean().default(false),
  /** For readers of the file only. */
  comment: z.string().max(256).optional(),
});

const File = z.strictObject({
  /** For tenants that are not listed, and for fields that a listed one leaves out. */
  defaults: Rules.default({}),
  tenants: z
    .record(
      z.string().regex(/^[\w.-]{1,64}$/, 'not the name of a tenant'),
      Rules.extend({ keys: z.array(Key).max(100).default([]) }),
    )
    .default({}),
});

export type TenantRules = {
  [K in keyof Required<z.infer<typeof Rules>>]: Exclude<z.infer<typeof Rules>[K], undefined>;
};

export interface TenantsFile {
  defaults: Partial<TenantRules>;
  tenants: ReadonlyMap<string, Partial<TenantRules>>;
  keys: readonly ApiKey[];
}

export const NO_BOUNDS: TenantRules = {
  sandboxes: null,
  cpus: null,
  memoryMb: null,
  createsPerSecond: null,
  createBurst: null,
  execs: null,
  weight: 1,
};

/** No tenants and no limits. */
export const NO_TENANTS: TenantsFile = { defaults: {}, tenants: new Map(), keys: [] };

/** @throws Error that lists every problem. Never quotes what appears in place of a key. */
export function readTenantsFile(path: string): TenantsFile {
  const text = readFileSync(path, 'utf8');
  if (text.length > MAX_FILE_BYTES) throw new Error('the file is too large');
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    // The parser's own message quotes the text it failed on.
    throw new Error('the file is not JSON');
  }
  return parseTenants(json);
}

/** @throws Error as `readTenantsFile` */
export function parseTenants(json: unknown): TenantsFile {
  const parsed = File.safeParse(json);
  if (!parsed.success) {
    throw new Error(parsed.error.issues.slice(0, 20).map(problem).join('; '));
  }
  const tenants = new Map<string, Partial<TenantRules>>();
  const keys: ApiKey[] = [];
  for (const [tenant, { keys: own, ...rules }] of Object.entries(parsed.data.tenants)) {
    tenants.set(tenant, given(rules));
    for (const { sha256, admin } of own) keys.push({ tenant, sha256: Buffer.from(sha256, 'hex'), admin });
  }
  if (keys.length > MAX_KEYS) throw new Error(`more than ${MAX_KEYS} keys`);
  if (new Set(keys.map(({ sha256 }) => sha256.toString('hex'))).size !== keys.length) {
    throw new Error('the same key appears twice');
  }
  return { defaults: given(parsed.data.defaults), tenants, keys };
}

/** Drops undefined fields, so that spreading the result does not override defaults. */
function given(rules: z.infer<typeof Rules>): Partial<TenantRules> {
  return Object.fromEntries(Object.entries(rules).filter(([, value]) => value !== undefined));
}
