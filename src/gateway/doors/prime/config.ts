/** Settings of the Prime door. The gateway's config.ts passes the environment in; nothing here reads it. */
import * as z from 'zod';
import { readEnv, wholeNumber, words } from '../../../lib/env-schema.ts';
import type { PortRange } from './tcp-ports.ts';

export interface PrimeConfig {
  /** Base URL of the data plane for clients; null: the URL at which the client requested its token. */
  publicUrl: string | null;
  /** Lifetime of a sandbox token. Clients fetch a new one a minute before it expires. */
  tokenTtlMs: number;
  /** Rewrites of image names, tried in order. `from` is a full name, or ends in `*`, which `to` may repeat. */
  imageMap: readonly { from: string; to: string }[];
  /** Images that may be used, after the rewrite: full names, or prefixes ending in `*`. Empty: all. */
  imageAllow: readonly string[];
  /** Network of sandboxes whose create request does not choose one. */
  network: 'internet' | 'off';
  /** Whether `disk_size_gb` is passed to the node. Runtimes that cannot limit a disk refuse it. */
  limitDisk: boolean;
  /** Ports of this gateway at which ports of sandboxes may be exposed for TCP; null: none. */
  tcpPorts: PortRange | null;
  /** Host name of those ports for clients; null: the one under which they reached this gateway. */
  tcpHost: string | null;
  /**
   * How long to hold the answer to a create until the sandbox runs, so that the client's first poll finds it running.
   */
  holdCreateMs: number;
  /** The same for a status request. */
  holdStatusMs: number;
}

export const DEFAULT_PRIME_CONFIG: PrimeConfig = {
  publicUrl: null,
  tokenTtlMs: 3_600_000,
  imageMap: [],
  imageAllow: [],
  network: 'internet',
  limitDisk: false,
  tcpPorts: null,
  tcpHost: null,
  holdCreateMs: 200,
  holdStatusMs: 400,
};

const Environment = z.object({
  MILLIBOX_PRIME_PUBLIC_URL: z.url({ protocol: /^https?$/ }).optional(),
  // Clients would refetch a token of a minute or less for every call.
  MILLIBOX_PRIME_TOKEN_TTL_MS: wholeNumber(61_000, 86_400_000, DEFAULT_PRIME_CONFIG.tokenTtlMs),
  MILLIBOX_PRIME_IMAGE_MAP: z.string().default(''),
  MILLIBOX_PRIME_IMAGE_ALLOW: z.string().default(''),
  MILLIBOX_PRIME_NETWORK: z.enum(['internet', 'off']).default(DEFAULT_PRIME_CONFIG.network),
  MILLIBOX_PRIME_LIMIT_DISK: z.enum(['on', 'off']).default('off'),
  MILLIBOX_PRIME_TCP_PORTS: z.string().optional(),
  MILLIBOX_PRIME_TCP_HOST: z
    .string()
    .regex(/^([a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\])$/i, 'not a host name or address')
    .optional(),
});

/** @throws Error that names the variable and the problem. */
export function parsePrimeConfig(env: Record<string, string | undefined>): PrimeConfig {
  const e = readEnv(Environment, env);
  return {
    ...DEFAULT_PRIME_CONFIG,
    publicUrl: e.MILLIBOX_PRIME_PUBLIC_URL?.replace(/\/+$/, '') ?? null,
    tokenTtlMs: e.MILLIBOX_PRIME_TOKEN_TTL_MS,
    imageMap: words(e.MILLIBOX_PRIME_IMAGE_MAP).map(parseRule),
    imageAllow: words(e.MILLIBOX_PRIME_IMAGE_ALLOW),
    network: e.MILLIBOX_PRIME_NETWORK,
    limitDisk: e.MILLIBOX_PRIME_LIMIT_DISK === 'on',
    tcpPorts: e.MILLIBOX_PRIME_TCP_PORTS === undefined ? null : parseRange(e.MILLIBOX_PRIME_TCP_PORTS),
    tcpHost: e.MILLIBOX_PRIME_TCP_HOST ?? null,
  };
}

function parseRange(text: string): PortRange {
  const [, from, to] = /^(\d{1,5})-(\d{1,5})$/.exec(text) ?? [];
  const [first, last] = [Number(from), Number(to)];
  if (first >= 1 && first <= last && last <= 65_535) return { first, last };
  throw new Error(`MILLIBOX_PRIME_TCP_PORTS: ${text} is not a range of ports such as 20000-20099`);
}

function parseRule(word: string): { from: string; to: string } {
  const at = word.indexOf('=');
  if (at < 1 || at === word.length - 1) throw new Error(`MILLIBOX_PRIME_IMAGE_MAP: ${word} is not from=to`);
  return { from: word.slice(0, at), to: word.slice(at + 1) };
}
