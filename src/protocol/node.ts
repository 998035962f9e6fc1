/**
 * The protocol of the node link between gateway and agent: frames over one WebSocket, dialled by the gateway. The
 * gateway opens every stream; the `op` of the OPEN payload determines its kind.
 */
import * as z from 'zod';
import { MAX_CREATE_COUNT } from './limits.ts';
import { EnvMap, EndReason, Labels, Network, SandboxStatus, Timings, type Sandbox } from './sandbox.ts';

export const NODE_SUBPROTOCOL = 'millibox.node.v1';
/**
 * Path of the WebSocket on an agent. Dial it with `dialNode` (src/mux/dial-node.ts), which authenticates both sides.
 */
export const NODE_PATH = '/v1/node';
/** Where an agent listens by default, on loopback. */
export const NODE_PORT = 8701;
/** In an agent's data directory: the unix socket that serves the same protocol. */
export const NODE_SOCKET = 'node.sock';
export const NODE_GENERATION = 1;

/** The exec id of a sandbox's start command. */
export const START_COMMAND_ID = 'start';

/** A node aborts a pull or an import that takes longer, and the gateway waits that long for it. */
export const PULL_DEADLINE_MS = 30 * 60_000;
export const IMPORT_DEADLINE_MS = 60 * 60_000;

/** The sandbox that a gateway asks a node to create. Everything is decided; the node fills in nothing. */
export const SandboxSpec = z.object({
  id: z.string(),
  tenant: z.string(),
  name: z.string().nullable(),
  image: z.string(),
  cpus: z.number(),
  memoryMb: z.number(),
  diskMb: z.number().nullable(),
  pidsLimit: z.number(),
  network: Network,
  env: EnvMap,
  secrets: EnvMap,
  labels: Labels,
  startCommand: z.string().nullable(),
  createdAtMs: z.number(),
  expiresAtMs: z.number(),
  idleTimeoutMs: z.number().nullable(),
  /**
   * When this was sent, by the clock to which the instants above refer. The node uses it to convert them to durations,
   * so that its own clock may differ. Absent, from older gateways: both share one clock.
   */
  sentAtMs: z.number().optional(),
});
export type SandboxSpec = z.infer<typeof SandboxSpec>;

/** The same sandbox under each of these ids, which replace the spec's own. */
export const CreateGroup = z.object({ spec: SandboxSpec, ids: z.array(z.string()).max(MAX_CREATE_COUNT) });
export type CreateGroup = z.infer<typeof CreateGroup>;

/**
 * For lists that may grow: a value that only a newer peer knows is read as the nearest one known here, so that nothing
 * is refused because of it. (The states of a sandbox are a closed list: another one needs a new generation.)
 */
const orElse = <T extends string>(known: z.ZodType<T>, otherwise: NoInfer<T>) =>
  z.union([known, z.string().transform((): T => otherwise)]);
export const ReceivedEndReason = orElse(EndReason, 'internal');
const ReceivedNetwork = orElse(Network, 'internet');

/**
 * Milliseconds since 1970 within the range of a date and of a cursor: an agent that sends other values would break
 * whole lists.
 */
const Instant = z.int().min(0).max(999_999_999_999_999);

/** A sandbox as its node knows it: what the gateway shows to clients, without any secret. */
export const SandboxRecord = z.object({
  id: z.string().regex(/^[a-z0-9-]{1,64}$/),
  tenant: z.string(),
  name: z.string().nullable(),
  image: z.string(),
  status: SandboxStatus,
  reason: ReceivedEndReason.nullable(),
  message: z.string().nullable(),
  errorCode: z
    .string()
    .regex(/^[a-z0-9_]{1,64}$/)
    .optional()
    .catch(undefined),
  cpus: z.number(),
  memoryMb: z.number(),
  diskMb: z.number().nullable(),
  pidsLimit: z.number(),
  network: ReceivedNetwork,
  labels: Labels,
  createdAtMs: Instant,
  startedAtMs: Instant.nullable(),
  endedAtMs: Instant.nullable(),
  expiresAtMs: Instant,
  timings: Timings,
});
export type SandboxRecord = z.infer<typeof SandboxRecord>;

export const PoolState = z.object({
  /** The image, or `*` for containers that any image can claim. */
  key: z.string(),
  warm: z.number(),
  starting: z.number(),
  target: z.number(),
});
export type PoolState = z.infer<typeof PoolState>;

/**
 * What placement needs to know about a node. Sent in the snapshot and again whenever it changes, at most once a second.
 */
export const NodeReport = z.object({
  name: z.string(),
  version: z.string(),
  runtime: z.string(),
  cpus: z.number(),
  memoryMb: z.number(),
  memoryFreeMb: z.number(),
  /** The largest disk that one sandbox can have. Absent: unknown until tried. */
  diskMb: z.number().optional(),
  maxSandboxes: z.number(),
  sandboxes: z.number(),
  /** It takes no new sandboxes, and its existing ones are to end. */
  draining: z.boolean(),
  /** It takes no new sandboxes, and keeps its existing ones. */
  cordoned: z.boolean().optional(),
  /** When sandboxes still alive on a draining node are ended, in milliseconds since 1970. Null: never. */
  drainDeadlineMs: Instant.nullable().optional(),
  pools: z.array(PoolState),
  images: z.array(z.string()).max(10_000),
  defaultImage: z.string(),
});
export type NodeReport = z.infer<typeof NodeReport>;

/** The agent's HELLO. */
export const NodeHello = z.object({
  generation: z.int(),
  node: z.string().max(253),
  version: z.string().max(64),
  /** New each time the agent starts. */
  bootId: z.string().max(64),
  /** Proof that the agent holds the node secret too: see src/lib/node-auth.ts. */
  proof: z.string().max(64),
});
export type NodeHello = z.infer<typeof NodeHello>;

/** OPEN payloads. Answers come in OPENED unless noted. */
export type NodeOpen =
  /**
   * Answers `SandboxRecord` as soon as the node has accepted it, or REFUSED `capacity_exhausted`, `draining`. The same
   * id again: the same record.
   */
  | { op: 'create'; spec: SandboxSpec }
  /**
   * Many in one message, each as with `create`. Answers `{ refused: [{ ids, error }] }`; all others are accepted and
   * reported by `watch`. Older agents refuse with `not_supported`.
   */
  | { op: 'createMany'; groups: CreateGroup[] }
  /**
   * Answers the final `SandboxRecord`. Deleting an id that the node has never seen leaves a tombstone, which refuses a
   * late create.
   */
  | { op: 'delete'; sandbox: string; reason: EndReason; message?: string }
  /** Extends a lifetime. `sentAtMs` as in `SandboxSpec`; absent: by the node's own clock. Answers `SandboxRecord`. */
  | { op: 'extend'; sandbox: string; expiresAtMs: number; sentAtMs?: number }
  /** A stream of EVENTs: first `snapshot`, then deltas. */
  | { op: 'watch' }
  /** An exec stream (src/protocol/exec.ts `ExecOpen`): waits in line until the sandbox runs. OPENED: `{ pid, queueMs }`. */
  | ({ op: 'exec' } & Record<string, unknown>)
  | ({ op: 'attach' } & Record<string, unknown>)
  /**
   * Answers `{ execs: ExecState[] }`; with `waitMs` and the id of one job, once the job is over, or after that time at
   * the latest. Older agents answer at once.
   */
  | { op: 'execs'; sandbox: string; ids?: string[]; waitMs?: number }
  | { op: 'signal'; sandbox: string; id: string; signal: string; all?: boolean }
  /** A file operation; see src/protocol/files.ts. */
  | ({ op: 'file' } & Record<string, unknown>)
  /** A byte tunnel to a port inside: channel BYTES both ways. */
  | { op: 'port'; sandbox: string; port: number }
  /** Answers `{ images }`. */
  | { op: 'images' }
  /**
   * A stream of EVENTs with progress, then `{ type: 'done', changed }`; ends, or RESET with the pull's error.
   * `refresh`: ask the registry even when the image is on the node. Older agents do not, and send no `done`.
   */
  | { op: 'image-pull'; image: string; refresh?: boolean }
  /** Answers `{}`, or REFUSED `invalid_request` while a sandbox uses it. */
  | { op: 'image-remove'; image: string }
  /** Channel BYTES carries an archive up to its FIN; EVENT `{ type: 'done', id }`; ends, or RESET with the error. */
  | { op: 'image-import'; image: string }
  /** Accepts no new sandboxes until undone, also across restarts. Answers `{}`. */
  | { op: 'cordon'; on: boolean }
  /**
   * As `cordon`; sandboxes still alive after `deadlineMs` (absent: never) are ended with `node_drained`. Answers `{}`.
   */
  | { op: 'drain'; on: boolean; deadlineMs?: number };

/** EVENT payloads of a `watch` stream. */
export type WatchEvent =
  | { type: 'snapshot'; node: NodeReport; sandboxes: SandboxRecord[]; more: boolean }
  | { type: 'sandbox'; sandbox: SandboxRecord }
  | { type: 'forgotten'; ids: string[] }
  | { type: 'node'; node: NodeReport }
  /** Never sent: an event of a type that only newer agents know is read as this. It changes nothing. */
  | { type: 'unknown' };

/** The record of a sandbox that has just been requested, valid until its node reports more. */
export function pendingRecord(spec: SandboxSpec): SandboxRecord {
  return {
    id: spec.id,
    tenant: spec.tenant,
    name: spec.name,
    image: spec.image,
    status: 'PENDING',
    reason: null,
    message: null,
    cpus: spec.cpus,
    memoryMb: spec.memoryMb,
    diskMb: spec.diskMb,
    pidsLimit: spec.pidsLimit,
    network: spec.network,
    labels: spec.labels,
    createdAtMs: spec.createdAtMs,
    startedAtMs: null,
    endedAtMs: null,
    expiresAtMs: spec.expiresAtMs,
    timings: {},
  };
}

/** A record as clients see it. */
export function toSandbox(record: SandboxRecord, node: string | null): Sandbox {
  const iso = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString());
  return {
    id: record.id,
    name: record.name,
    image: record.image,
    status: record.status,
    reason: record.reason,
    message: record.message,
    ...(record.errorCode === undefined ? {} : { errorCode: record.errorCode }),
    node,
    cpus: record.cpus,
    memoryMb: record.memoryMb,
    diskMb: record.diskMb,
    pidsLimit: record.pidsLimit,
    network: record.network,
    labels: record.labels,
    createdAt: new Date(record.createdAtMs).toISOString(),
    startedAt: iso(record.startedAtMs),
    endedAt: iso(record.endedAtMs),
    expiresAt: iso(record.expiresAtMs),
    timings: record.timings,
  };
}
