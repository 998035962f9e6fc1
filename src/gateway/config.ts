/** The only place where the gateway reads the environment. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as z from 'zod';
import { GATEWAY_PORT } from '../protocol/client.ts';
import { NODE_HEARTBEAT_MS, NODE_LINK_DEAD_MS } from '../protocol/limits.ts';
import { NODE_PORT } from '../protocol/node.ts';
import { ImageName } from '../protocol/sandbox.ts';
import type { Heartbeat } from './nodes/link.ts';
import { DEFAULT_DISCOVERY_CONFIG, parseDiscoveryConfig, type DiscoveryConfig } from './discovery/config.ts';
import { DEFAULT_PRIME_CONFIG, parsePrimeConfig, type PrimeConfig } from './doors/prime/config.ts';
import { NO_TENANTS, readTenantsFile, type TenantsFile } from './tenants/file.ts';
import { readValid, wholeNumber, words } from '../lib/env-schema.ts';

export interface ApiKey {
  tenant: string;
  sha256: Buffer;
  /** May use the calls for operators: nodes, pools and images. */
  admin: boolean;
}

export interface NodeAddress {
  /** Identifies the node across changes of its address. Absent: the address does. */
  id?: string;
  /** Null: the name that the node gives itself. */
  name: string | null;
  /** `ws://host:port`, or `ws+unix:///path/of/socket` for an agent on this machine */
  url: string;
}

export interface GatewayConfig {
  listen: { host: string; port: number };
  /** Another gateway may listen on the same port, so that it can replace this one without downtime. */
  reusePort?: boolean;
  nodes: readonly NodeAddress[];
  nodeSecret: string;
  /** Including those of the tenants file. */
  keys: readonly ApiKey[];
  /** Absent: no limits. */
  tenants?: TenantsFile;
  /** For creates without an image. Null: the nodes' default. */
  defaultImage: string | null;
  /** A node whose link is down this long counts as lost, and its sandboxes end. */
  nodeGraceMs: number;
  /** Absent: its defaults. */
  heartbeat?: Heartbeat;
  /** How long a call waits for the link of a node that is not lost. */
  linkPatienceMs: number;
  /** How long to keep trying to reattach to a command after its link was cut. */
  resumeMs: number;
  /** How long a shutdown waits for calls in progress. */
  drainMs: number;
  /** How many sandboxes may wait for room, over all tenants. */
  queueMax: number;
  /** A sandbox that has waited this long for room ends. */
  queueWaitMs: number;
  /** Holds the state that several gateways share; may contain a password. Absent: this is the only gateway. */
  redisUrl?: string | undefined;
  /** Ports are reachable at `{port}-{sandbox}.DOMAIN`. Null: only by path. */
  previewDomain: string | null;
  logLevel: 'debug' | 'info' | 'warn' | 'error' | 'silent';
  /** Absent: only the nodes in `nodes`. */
  discovery?: DiscoveryConfig;
  /** Absent: the defaults. */
  prime?: PrimeConfig;
}

/** Lists everything that is wrong with the environment in one message. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

const MINUTE = 60_000;

const Environment = z.object({
  MILLIBOX_LISTEN: z.string().default(`127.0.0.1:${GATEWAY_PORT}`),
  MILLIBOX_REUSE_PORT: z.enum(['0', '1']).default('0'),
  MILLIBOX_NODES: z.string().default(`ws://127.0.0.1:${NODE_PORT}`),
  MILLIBOX_NODE_SECRET: z.string().optional(),
  MILLIBOX_NODE_SECRET_FILE: z.string().optional(),
  MILLIBOX_API_KEY: z.string().optional(),
  MILLIBOX_API_KEY_FILE: z.string().optional(),
  MILLIBOX_API_KEYS: z.string().optional(),
  MILLIBOX_API_KEYS_FILE: z.string().optional(),
  MILLIBOX_TENANTS_FILE: z.string().optional(),
  MILLIBOX_DEFAULT_IMAGE: ImageName.optional(),
  MILLIBOX_NODE_GRACE_MS: wholeNumber(0, 60 * MINUTE, 30_000),
  MILLIBOX_HEARTBEAT_MS: wholeNumber(50, MINUTE, NODE_HEARTBEAT_MS),
  MILLIBOX_LINK_DEAD_MS: wholeNumber(100, 10 * MINUTE, NODE_LINK_DEAD_MS),
  MILLIBOX_LINK_PATIENCE_MS: wholeNumber(0, 10 * MINUTE, 20_000),
  MILLIBOX_RESUME_MS: wholeNumber(0, 10 * MINUTE, 20_000),
  MILLIBOX_DRAIN_MS: wholeNumber(0, 60 * MINUTE, 30_000),
  MILLIBOX_QUEUE_MAX: wholeNumber(0, 10_000_000, 10_000),
  MILLIBOX_QUEUE_WAIT_MS: wholeNumber(1, 24 * 60 * MINUTE, 10 * MINUTE),
  MILLIBOX_REDIS_URL: z.string().optional(),
  MILLIBOX_REDIS_URL_FILE: z.string().optional(),
  MILLIBOX_PREVIEW_DOMAIN: z
    .string()
    .regex(/^[a-z0-9.-]{1,180}$/, 'not a domain in lowercase letters')
    .optional(),
  MILLIBOX_LOG_LEVEL: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
});

/** @throws ConfigError */
export function loadConfig(env: Record<string, string | undefined>): GatewayConfig {
  const { settings: e, problems } = readValid(Environment, env);
  const attempt = <T>(name: string, fallback: T, read: () => T): T => {
    try {
      return read();
    } catch (error) {
      problems.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
      return fallback;
    }
  };
  const tenants = attempt<TenantsFile | null>('MILLIBOX_TENANTS_FILE', null, () =>
    e.MILLIBOX_TENANTS_FILE === undefined ? NO_TENANTS : readTenantsFile(e.MILLIBOX_TENANTS_FILE),
  );
  const config: GatewayConfig = {
    listen: attempt('MILLIBOX_LISTEN', { host: '', port: 0 }, () => parseListen(e.MILLIBOX_LISTEN)),
    reusePort: e.MILLIBOX_REUSE_PORT === '1',
    nodes: attempt('MILLIBOX_NODES', [], () => parseNodes(e.MILLIBOX_NODES)),
    nodeSecret: attempt('MILLIBOX_NODE_SECRET', '', () =>
      secret(
        e.MILLIBOX_NODE_SECRET,
        e.MILLIBOX_NODE_SECRET_FILE,
        'set MILLIBOX_NODE_SECRET_FILE or MILLIBOX_NODE_SECRET',
      ),
    ),
    keys: attempt('MILLIBOX_API_KEYS', [], () =>
      parseKeys(
        fileOr(e.MILLIBOX_API_KEY, e.MILLIBOX_API_KEY_FILE),
        fileOr(e.MILLIBOX_API_KEYS, e.MILLIBOX_API_KEYS_FILE),
        tenants?.keys ?? null,
      ),
    ),
    tenants: tenants ?? NO_TENANTS,
    defaultImage: e.MILLIBOX_DEFAULT_IMAGE ?? null,
    nodeGraceMs: e.MILLIBOX_NODE_GRACE_MS,
    heartbeat: { intervalMs: e.MILLIBOX_HEARTBEAT_MS, deadAfterMs: e.MILLIBOX_LINK_DEAD_MS },
    linkPatienceMs: e.MILLIBOX_LINK_PATIENCE_MS,
    resumeMs: e.MILLIBOX_RESUME_MS,
    drainMs: e.MILLIBOX_DRAIN_MS,
    queueMax: e.MILLIBOX_QUEUE_MAX,
    queueWaitMs: e.MILLIBOX_QUEUE_WAIT_MS,
    redisUrl: attempt('MILLIBOX_REDIS_URL', undefined, () =>
      parseRedisUrl(fileOr(e.MILLIBOX_REDIS_URL, e.MILLIBOX_REDIS_URL_FILE)),
    ),
    previewDomain: e.MILLIBOX_PREVIEW_DOMAIN ?? null,
    logLevel: e.MILLIBOX_LOG_LEVEL,
    discovery: attempt('MILLIBOX_DISCOVERY', DEFAULT_DISCOVERY_CONFIG, () => parseDiscoveryConfig(env)),
    prime: attempt('MILLIBOX_PRIME', DEFAULT_PRIME_CONFIG, () => parsePrimeConfig(env)),
  };
  if (problems.length > 0) throw new ConfigError(problems.join('; '));
  return config;
}

function fileOr(value: string | undefined, path: string | undefined): string | undefined {
  return value ?? (path === undefined ? undefined : readFileSync(path, 'utf8').trim());
}

/** The value is not quoted in errors: it may contain a password. */
function parseRedisUrl(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const url = URL.parse(text);
  // Of any other path, the client would use the first database.
  const isOurs = url !== null && ['redis:', 'rediss:'].includes(url.protocol) && /^\/?\d{0,9}$/.test(url.pathname);
  if (!isOurs || url.hostname === '') {
    throw new Error('not redis://[user:password@]host[:port][/database], nor with rediss:');
  }
  try {
    decodeURIComponent(url.username + url.password);
  } catch {
    throw new Error('a % in the user name or password must be written as %25');
  }
  return text;
}

function secret(value: string | undefined, path: string | undefined, hint: string): string {
  const text = fileOr(value, path);
  if (text === undefined) throw new Error(hint);
  if (text.length < 16) throw new Error('a secret must have at least 16 characters');
  return text;
}

function parseListen(text: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:\s]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) throw new Error('not host:port');
  return { host: match[1] ?? match[2] ?? '', port };
}

/** `url` or `name=url`, separated by commas or white space. */
function parseNodes(text: string): NodeAddress[] {
  const nodes = words(text).map((part) => {
    const [, name, url] = /^(?:([\w.-]{1,253})=)?(.+)$/.exec(part) ?? [];
    const { protocol, hostname } = new URL(url ?? '');
    const remote = ['ws:', 'wss:'].includes(protocol) && hostname !== '';
    if (!remote && !/^ws\+unix:\/\/\/[^:?#]+$/.test(url ?? ''))
      throw new Error(`${part} is not ws://host:port, nor ws+unix:///path/of/socket`);
    return { name: name ?? null, url: url ?? '' };
  });
  for (const key of ['url', 'name'] as const) {
    const named = nodes.map((node) => node[key]).filter((value) => value !== null);
    if (new Set(named).size !== named.length) throw new Error(`two nodes have the same ${key}`);
  }
  return nodes;
}

/**
 * Collects one plain admin key, entries `tenant:sha256hex[:admin]`, and the keys of the tenants file. Those are null if it
 * could not be read: then it is not known that there is no key.
 */
function parseKeys(plain: string | undefined, hashed: string | undefined, more: readonly ApiKey[] | null): ApiKey[] {
  const keys: ApiKey[] = [];
  if (plain !== undefined) {
    if (plain.length < 8) throw new Error('MILLIBOX_API_KEY must have at least 8 characters');
    keys.push({ tenant: 'default', sha256: createHash('sha256').update(plain).digest(), admin: true });
  }
  for (const entry of words(hashed ?? '')) {
    const match = /^([\w.-]{1,64}):([0-9a-fA-F]{64})(:admin)?$/.exec(entry);
    // The entry is not quoted: it may be a plain key by mistake.
    if (match === null) throw new Error(`entry ${keys.length + 1} is not tenant:sha256hex or tenant:sha256hex:admin`);
    keys.push({ tenant: match[1] ?? '', sha256: Buffer.from(match[2] ?? '', 'hex'), admin: match[3] !== undefined });
  }
  keys.push(...(more ?? []));
  if (keys.length === 0 && more !== null)
    throw new Error('no API key: set MILLIBOX_API_KEYS, MILLIBOX_API_KEY or MILLIBOX_TENANTS_FILE');
  return keys;
}

/** The environment of this process. */
export function environment(): Record<string, string | undefined> {
  return process.env;
}
