/** What an operator can set about this door. Read by the gateway's config.ts; nothing here looks at the environment. */
import * as z from 'zod';
import { readEnv, wholeNumber, words } from '../../env-schema.ts';
import type { PortRange } from './tcp-ports.ts';

export interface PrimeConfig {
  /** Where clients reach this gateway's data plane; null: where the client reached it for its token. */
  publicUrl: string | null;
  /** Life of a sandbox token. Clients fetch a new one a minute before its end. */
  tokenTtlMs: number;
  /** Rewrites of image names, tried in order. `from` is a whole name, or ends in `*`, which `to` may repeat. */
  imageMap: readonly { from: string; to: string }[];
  /** Names that may be used, after the rewrite: whole, or a prefix that ends in `*`. Empty: all. */
  imageAllow: readonly string[];
  /** Of sandboxes whose creator says nothing of the network. */
  network: 'internet' | 'off';
  /** Whether `disk_size_gb` is handed to the node. Runtimes that cannot bound a disk refuse it. */
  limitDisk: boolean;
  /** Ports of this gateway at which ports of sandboxes may be exposed for TCP; null: none. */
  tcpPorts: PortRange | null;
  /** How clients reach those ports; null: by the name under which they reached this gateway. */
  tcpHost: string | null;
  /** How long a create is held until the sandbox runs, so that the client's first look finds it running. */
  holdCreateMs: number;
  /** The same for a look at the status. */
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
  // A token that lives a minute or less would be fetched anew for every call.
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

/** @throws Error that says what is wrong with which variable. */
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
  throw new Error(`MILLIBOX_PRIME_TCP_PORTS: ${text} is no range of ports like 20000-20099`);
}

function parseRule(word: string): { from: string; to: string } {
  const at = word.indexOf('=');
  if (at < 1 || at === word.length - 1) throw new Error(`MILLIBOX_PRIME_IMAGE_MAP: ${word} is not from=to`);
  return { from: word.slice(0, at), to: word.slice(at + 1) };
}
