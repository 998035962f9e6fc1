/** The agent's settings, from the environment. No other file of the agent reads `process.env`. */
import { readFileSync } from 'node:fs';
import { availableParallelism, hostname, homedir } from 'node:os';
import path from 'node:path';
import { inspect } from 'node:util';
import * as z from 'zod';
import { readEnv, wholeNumber } from '../src/lib/env-schema.ts';
import { builtBoxinit } from '../src/lib/own-package.ts';
import { MAX_DATA_DIR_BYTES } from '../src/lib/socket-path.ts';
import { ImageName, Mirrors, readBaseImages, Registries } from './image-settings.ts';
import { Resolvers, Subnet } from './network-settings.ts';
import { hostProcess } from './runtime/oci/network/uplink.ts';
import type { OciConfig } from './runtime/select.ts';
import {
  DEFAULT_CPUS,
  DEFAULT_MEMORY_MB,
  DEFAULT_PIDS_LIMIT,
  LIMIT_BOUNDS,
  NODE_HEARTBEAT_MS,
  NODE_LINK_DEAD_MS,
} from '../src/protocol/limits.ts';
import { NODE_PORT } from '../src/protocol/node.ts';

/** A value that prints as `[redacted]` wherever it is logged, inspected or turned into JSON. */
class Secret {
  readonly #value: string;
  constructor(value: string) {
    this.#value = value;
  }
  reveal(): string {
    return this.#value;
  }
  toString(): string {
    return '[redacted]';
  }
  toJSON(): string {
    return '[redacted]';
  }
  [inspect.custom](): string {
    return '[redacted]';
  }
}

/** Characters. */
const MIN_SECRET = 16;

const { cpus, memoryMb, pidsLimit } = LIMIT_BOUNDS;

const count = (fallback: number, max = 1_000_000) => wholeNumber(0, max, fallback);

const Listen = z
  .string()
  .regex(/^(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}$/, 'host:port')
  .transform((text) => {
    const at = text.lastIndexOf(':');
    return { host: text.slice(0, at).replace(/^\[|\]$/g, ''), port: Number(text.slice(at + 1)) };
  })
  .refine(({ port }) => port <= 65_535, 'a port is at most 65535');

/**
 * Normalised: what is below it is recognised by its path, and names of containers and cgroups depend on it. The characters
 * that are refused have a meaning in overlay options (gVisor) or in image layouts (skopeo).
 */
const Directory = z
  .string()
  .startsWith('/')
  .transform((text) => path.resolve(text))
  .refine(
    (text) => !/[:,"\\\p{Cc}]/u.test(text),
    'must not contain a colon, comma, double quote, backslash or control character; choose another path',
  );

const DataDirectory = Directory.refine(
  (text) => Buffer.byteLength(text) <= MAX_DATA_DIR_BYTES,
  `too long: sockets are created below it, so it may have at most ${MAX_DATA_DIR_BYTES} bytes`,
);

const isRoot = process.getuid?.() === 0;

const Environment = z.object({
  MILLIBOX_NODE_NAME: z
    .string()
    .regex(/^[a-zA-Z0-9][a-zA-Z0-9.-]{0,252}$/)
    .default(hostname()),
  MILLIBOX_AGENT_LISTEN: Listen.prefault(`127.0.0.1:${NODE_PORT}`),
  /** A second port that serves metrics, also to callers on other machines, and nothing else. Default: none. */
  MILLIBOX_AGENT_METRICS_LISTEN: Listen.optional(),
  MILLIBOX_NODE_SECRET: z.string().min(MIN_SECRET).optional(),
  MILLIBOX_NODE_SECRET_FILE: z.string().min(1).optional(),
  MILLIBOX_DATA_DIR: DataDirectory.default(isRoot ? '/var/lib/millibox/agent' : `${homedir()}/.millibox/agent`),
  MILLIBOX_RUNTIME: z.enum(['auto', 'docker', 'oci', 'gvisor', 'fake']).default('auto'),
  MILLIBOX_DEFAULT_IMAGE: ImageName.default('python:3.12-slim'),
  MILLIBOX_BOXINIT: z.string().startsWith('/').default(builtBoxinit),
  /** `runc`, `crun` or a path: what starts containers with the runtime `oci`. */
  MILLIBOX_OCI_PROGRAM: z.string().min(1).optional(),
  /** Name servers of sandboxes with a network; default: the node's own. */
  MILLIBOX_RESOLVERS: Resolvers,
  /** `10.9.0.0/16`: addresses of sandboxes with a network. */
  MILLIBOX_SANDBOX_SUBNET: Subnet.optional(),
  /** Whose network namespace has the sandboxes' bridge: the agent's own, or the host's. */
  MILLIBOX_SANDBOX_UPLINK: z.enum(['own', 'host']).default('own'),
  MILLIBOX_IMAGES_DIR: Directory.optional(),
  /** Unused images are removed while all images together take more than this. 0: no limit. */
  MILLIBOX_IMAGES_BUDGET_MB: count(0, 1_000_000_000),
  /** A Docker `config.json` with the credentials of private registries. */
  MILLIBOX_REGISTRY_AUTH_FILE: z.string().startsWith('/').optional(),
  /** `docker.io=mirror.local:5000,…`: registries to use in place of others. */
  MILLIBOX_REGISTRY_MIRRORS: Mirrors,
  /** Registries to contact without TLS, by name. */
  MILLIBOX_INSECURE_REGISTRIES: Registries,
  /** Pairs of lines: a reference, and the archive on this machine that it is imported from. */
  MILLIBOX_BASE_IMAGE_FILE: z.string().startsWith('/').default('/var/lib/millibox/base/default-image'),
  MILLIBOX_DOCKER_SOCKET: z.string().startsWith('/').default('/var/run/docker.sock'),
  MILLIBOX_POOL_MIN: count(4, 10_000),
  MILLIBOX_POOL_MAX: count(64, 10_000),
  MILLIBOX_LAUNCH_CONCURRENCY: count(Math.max(2, 2 * availableParallelism()), 1_000),
  MILLIBOX_MAX_SANDBOXES: count(2_000),
  MILLIBOX_MEMORY_OVERCOMMIT: z.coerce.number().positive().default(50),
  MILLIBOX_MIN_FREE_MEMORY_MB: count(256),
  MILLIBOX_POOL_CPUS: z.coerce.number().min(cpus.min).max(cpus.max).default(DEFAULT_CPUS),
  MILLIBOX_POOL_MEMORY_MB: wholeNumber(memoryMb.min, memoryMb.max, DEFAULT_MEMORY_MB),
  MILLIBOX_POOL_PIDS: wholeNumber(pidsLimit.min, pidsLimit.max, DEFAULT_PIDS_LIMIT),
  MILLIBOX_HEARTBEAT_MS: wholeNumber(50, 60_000, NODE_HEARTBEAT_MS),
  MILLIBOX_LINK_DEAD_MS: wholeNumber(100, 600_000, NODE_LINK_DEAD_MS),
  MILLIBOX_STOP_MS: count(5_000, 600_000),
  /** Output kept of one job, both channels together; the oldest is dropped first. */
  MILLIBOX_JOB_LOG_MB: count(64, 1_000_000),
  /** Output kept of all jobs of the node together. */
  MILLIBOX_JOB_LOGS_MB: count(8_192, 1_000_000_000),
  MILLIBOX_ON_STOP: z.enum(['keep', 'destroy']).default('keep'),
  MILLIBOX_LOG_LEVEL: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
});

export type AgentConfig = Readonly<{
  nodeName: string;
  listen: { host: string; port: number };
  metricsListen: { host: string; port: number } | null;
  nodeSecret: Secret;
  dataDir: string;
  runtime: 'auto' | 'docker' | 'oci' | 'gvisor' | 'fake';
  defaultImage: string;
  boxinitPath: string;
  dockerSocket: string;
  oci: OciConfig;
  pool: { min: number; max: number; limits: { cpus: number; memoryMb: number; diskMb: null; pidsLimit: number } };
  /** Containers that may be starting at the same time. */
  launchConcurrency: number;
  maxSandboxes: number;
  /** The sandboxes' memory limits may add up to this many times the machine's memory. */
  memoryOvercommit: number;
  /** Below this much free memory nothing new is accepted. */
  minFreeMemoryMb: number;
  /** On the links to gateways. */
  heartbeat: { intervalMs: number; deadAfterMs: number };
  jobLogs: { jobBytes: number; totalBytes: number };
  /** How long file transfers and other calls in flight may take at a graceful shutdown. */
  stopMs: number;
  /** At a graceful shutdown: leave sandboxes to the next agent, or end them and remove everything. */
  onStop: 'keep' | 'destroy';
  logLevel: 'debug' | 'info' | 'warn' | 'error' | 'silent';
}>;

/** @throws Error that names every variable that is wrong. */
export function loadConfig(env: NodeJS.ProcessEnv): AgentConfig {
  const e = settings(env);
  return Object.freeze({
    nodeName: e.MILLIBOX_NODE_NAME,
    listen: e.MILLIBOX_AGENT_LISTEN,
    metricsListen: e.MILLIBOX_AGENT_METRICS_LISTEN ?? null,
    nodeSecret: readSecret(e.MILLIBOX_NODE_SECRET, e.MILLIBOX_NODE_SECRET_FILE),
    dataDir: e.MILLIBOX_DATA_DIR,
    runtime: e.MILLIBOX_RUNTIME,
    defaultImage: e.MILLIBOX_DEFAULT_IMAGE,
    boxinitPath: e.MILLIBOX_BOXINIT,
    dockerSocket: e.MILLIBOX_DOCKER_SOCKET,
    oci: {
      program: e.MILLIBOX_OCI_PROGRAM,
      imagesDir: e.MILLIBOX_IMAGES_DIR,
      resolvers: e.MILLIBOX_RESOLVERS.length === 0 ? undefined : e.MILLIBOX_RESOLVERS,
      subnet: e.MILLIBOX_SANDBOX_SUBNET,
      uplinkPid: e.MILLIBOX_SANDBOX_UPLINK === 'host' ? hostProcess() : undefined,
      imagesBudgetMb: e.MILLIBOX_IMAGES_BUDGET_MB === 0 ? undefined : e.MILLIBOX_IMAGES_BUDGET_MB,
      registry: {
        authFile: e.MILLIBOX_REGISTRY_AUTH_FILE,
        mirrors: e.MILLIBOX_REGISTRY_MIRRORS,
        insecure: e.MILLIBOX_INSECURE_REGISTRIES,
      },
      archives: readBaseImages(e.MILLIBOX_BASE_IMAGE_FILE),
    },
    pool: {
      min: e.MILLIBOX_POOL_MIN,
      max: Math.max(e.MILLIBOX_POOL_MAX, e.MILLIBOX_POOL_MIN),
      limits: {
        cpus: e.MILLIBOX_POOL_CPUS,
        memoryMb: e.MILLIBOX_POOL_MEMORY_MB,
        diskMb: null,
        pidsLimit: e.MILLIBOX_POOL_PIDS,
      },
    },
    launchConcurrency: Math.max(1, e.MILLIBOX_LAUNCH_CONCURRENCY),
    maxSandboxes: e.MILLIBOX_MAX_SANDBOXES,
    memoryOvercommit: e.MILLIBOX_MEMORY_OVERCOMMIT,
    minFreeMemoryMb: e.MILLIBOX_MIN_FREE_MEMORY_MB,
    heartbeat: { intervalMs: e.MILLIBOX_HEARTBEAT_MS, deadAfterMs: e.MILLIBOX_LINK_DEAD_MS },
    stopMs: e.MILLIBOX_STOP_MS,
    jobLogs: {
      jobBytes: e.MILLIBOX_JOB_LOG_MB * 1024 * 1024,
      totalBytes: e.MILLIBOX_JOB_LOGS_MB * 1024 * 1024,
    },
    onStop: e.MILLIBOX_ON_STOP,
    logLevel: e.MILLIBOX_LOG_LEVEL,
  });
}

function settings(env: NodeJS.ProcessEnv): z.infer<typeof Environment> {
  try {
    return readEnv(Environment, env);
  } catch (error) {
    throw new Error(`the agent cannot start with this environment: ${(error as Error).message}`, { cause: error });
  }
}

function readSecret(value: string | undefined, file: string | undefined): Secret {
  if (value !== undefined) return new Secret(value);
  if (file === undefined) {
    throw new Error(
      'the agent needs MILLIBOX_NODE_SECRET or MILLIBOX_NODE_SECRET_FILE, the secret that it shares with the gateways',
    );
  }
  const text = readSecretFile(file).trim();
  if (text.length < MIN_SECRET) {
    throw new Error(`MILLIBOX_NODE_SECRET_FILE: the secret in ${file} must have at least ${MIN_SECRET} characters`);
  }
  return new Secret(text);
}

function readSecretFile(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new Error(`MILLIBOX_NODE_SECRET_FILE cannot be read: ${(error as Error).message}`, { cause: error });
  }
}
