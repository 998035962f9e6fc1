/** The noun `sandbox`: requests for one, and its representation to clients. */
import * as z from 'zod';
import { isImageId, parseImageReference } from './image-reference.ts';
import {
  DEFAULT_CPUS,
  DEFAULT_MEMORY_MB,
  DEFAULT_PIDS_LIMIT,
  DEFAULT_SANDBOX_LIFETIME_MS,
  LIMIT_BOUNDS,
  MAX_CREATE_COUNT,
  MAX_ENV_ENTRIES,
  MAX_LABELS,
  MAX_PRIORITY,
  MAX_TIMEOUT_MS,
} from './limits.ts';
import { stringMap } from './string-map.ts';

/** Names that a shell can use; values without the zero byte, which ends a C string. */
export const EnvMap = stringMap(
  z.string().regex(/^[^=\0]{1,1024}$/, 'an environment name cannot be empty, or contain "=" or a zero byte'),
  z
    .string()
    .max(128 * 1024)
    .regex(/^[^\0]*$/, 'an environment value cannot contain a zero byte'),
).refine((env) => Object.keys(env).length <= MAX_ENV_ENTRIES, `at most ${MAX_ENV_ENTRIES} entries`);

export const Labels = stringMap(z.string().min(1).max(128), z.string().max(256)).refine(
  (labels) => Object.keys(labels).length <= MAX_LABELS,
  `at most ${MAX_LABELS} labels`,
);

/** A reference as `docker pull` takes it, or the id of an image on a node. */
export const ImageRef = z
  .string()
  .min(1)
  .max(512)
  .regex(/^[a-zA-Z0-9][a-zA-Z0-9._\-/:@]*$/, 'not an image reference')
  .refine((text) => isImageId(text) || parseImageReference(text) !== undefined, 'not an image reference');

/** A reference that means the same to every node and registry: an id is known only where the image is. */
export const ImageName = ImageRef.refine(
  (text) => !isImageId(text),
  'the id of an image is not a reference: give its name, with a tag or as name@digest',
);

export const Network = z.enum(['off', 'internet']);
export type Network = z.infer<typeof Network>;

const { cpus, memoryMb, diskMb, pidsLimit } = LIMIT_BOUNDS;

export const CreateSandboxRequest = z.strictObject({
  image: ImageName.optional().describe('Image reference; the server has a default'),
  name: z.string().min(1).max(128).optional(),
  cpus: z.number().positive().min(cpus.min).max(cpus.max).default(DEFAULT_CPUS),
  memoryMb: z.int().min(memoryMb.min).max(memoryMb.max).default(DEFAULT_MEMORY_MB),
  diskMb: z.int().min(diskMb.min, `a disk has at least ${diskMb.min} MiB`).max(diskMb.max).optional(),
  pidsLimit: z.int().min(pidsLimit.min).max(pidsLimit.max).default(DEFAULT_PIDS_LIMIT),
  network: Network.default('off'),
  env: EnvMap.default({}),
  secrets: EnvMap.default({}).describe('Like env, but never returned'),
  labels: Labels.default({}),
  startCommand: z
    .string()
    .min(1)
    .max(128 * 1024)
    .regex(/^[^\0]*$/, 'a zero byte cannot be passed to a program')
    .optional()
    .describe('Runs in the background once the sandbox is up'),
  timeoutMs: z.int().min(1).max(MAX_TIMEOUT_MS).default(DEFAULT_SANDBOX_LIFETIME_MS).describe('Lifetime from creation'),
  idleTimeoutMs: z
    .int()
    .min(1)
    .max(MAX_TIMEOUT_MS)
    .optional()
    .describe('Ends the sandbox after this long without a call'),
  priority: z
    .int()
    .min(-MAX_PRIORITY)
    .max(MAX_PRIORITY)
    .optional()
    .describe("Among the tenant's queued sandboxes, the highest starts first; 0 by default"),
  count: z.int().min(1).max(MAX_CREATE_COUNT).optional(),
});
export type CreateSandboxRequest = z.infer<typeof CreateSandboxRequest>;
export type CreateSandboxInput = z.input<typeof CreateSandboxRequest>;

export const SandboxStatus = z.enum(['PENDING', 'PROVISIONING', 'RUNNING', 'TERMINATED', 'ERROR', 'TIMEOUT']);
export type SandboxStatus = z.infer<typeof SandboxStatus>;

export const EndReason = z.enum([
  'deleted',
  'lifetime',
  'idle',
  'oom',
  'image_pull_failed',
  'start_failed',
  'node_lost',
  'node_drained',
  'internal',
]);
export type EndReason = z.infer<typeof EndReason>;

/** Milliseconds from creation to the named point; absent until it is reached. */
export const Timings = z.object({
  placedMs: z.number().optional(),
  claimedMs: z.number().optional(),
  runningMs: z.number().optional(),
  /** Whether a warm container was available for the claim. */
  warm: z.boolean().optional(),
});

export const Sandbox = z.object({
  id: z.string(),
  name: z.string().nullable(),
  image: z.string(),
  status: SandboxStatus,
  reason: EndReason.nullable(),
  message: z.string().nullable(),
  /** Of the error that kept it from starting, such as `image_not_found`. */
  errorCode: z.string().optional(),
  node: z.string().nullable(),
  cpus: z.number(),
  memoryMb: z.number(),
  diskMb: z.number().nullable(),
  pidsLimit: z.number(),
  network: Network,
  labels: z.record(z.string(), z.string()),
  createdAt: z.string(),
  startedAt: z.string().nullable(),
  endedAt: z.string().nullable(),
  expiresAt: z.string().nullable(),
  /** While it waits for a node with room: the number of sandboxes that go first. */
  queuePosition: z.int().optional(),
  timings: Timings,
});
export type Sandbox = z.infer<typeof Sandbox>;

export const isEnded = (status: SandboxStatus): boolean =>
  status === 'TERMINATED' || status === 'ERROR' || status === 'TIMEOUT';

/** How a sandbox ended: the `details` of `sandbox_ended`. */
export const endOf = ({ status, reason, errorCode }: End): Record<string, unknown> => ({
  status,
  reason,
  ...(errorCode === undefined ? {} : { errorCode }),
});
type End = { status: string; reason: string | null; errorCode?: string | undefined };
