/** Converts the body of a Prime create to a request for the services. */
import * as z from 'zod';
import { ServiceError } from '../../../../protocol/errors.ts';
import { MAX_TIMEOUT_MS, MIN_DISK_MB } from '../../../../protocol/limits.ts';
import { CreateSandboxRequest, type Network } from '../../../../protocol/sandbox.ts';
import { stringMap } from '../../../../protocol/string-map.ts';
import { check } from '../../../http/route.ts';
import type { PrimeConfig } from '../config.ts';
import { resolveImage } from '../images.ts';
import { toLabels } from '../labels.ts';

/** Clients send null for omitted fields. */
export const maybe = <T>(schema: z.ZodType<T>) => schema.nullish().transform((value) => value ?? undefined);

const StringMap = stringMap(z.string(), z.string());
const Hosts = z.array(z.string().max(300)).max(1024);
const StartCommand = z.union([
  z.string().max(128 * 1024),
  z.object({ executable: z.string().min(1), args: z.array(z.string()).default([]) }),
]);

/** Unknown fields are ignored: every client release adds some. */
export const CreateBody = z.object({
  name: z.string().min(1).max(128),
  docker_image: maybe(z.string().min(1).max(512)),
  start_command: maybe(StartCommand),
  cpu_cores: z.number().positive().default(1),
  memory_gb: z.number().positive().default(1),
  disk_size_gb: maybe(z.number().positive()),
  gpu_count: z.int().min(0).default(0),
  gpu_type: maybe(z.string()),
  vm: maybe(z.boolean()),
  arch: maybe(z.string()),
  network_access: maybe(z.boolean()),
  network_allowlist: maybe(Hosts),
  network_denylist: maybe(Hosts),
  timeout_minutes: z.int().default(60),
  idle_timeout_minutes: maybe(z.int().min(1)),
  environment_vars: maybe(StringMap),
  secrets: maybe(StringMap),
  labels: z.array(z.string().min(1).max(128)).max(48).default([]),
  team_id: maybe(z.string().max(200)),
  region: maybe(z.string().max(200)),
  idempotency_key: maybe(z.string().regex(/^[\x21-\x7e]{1,255}$/)),
  checkpoint_id: maybe(z.string()),
  volumes: maybe(z.array(z.unknown())),
});
export type CreateBody = z.infer<typeof CreateBody>;

const MINUTE_MS = 60_000;
const DEFAULT_DISK_GB = 5;
/**
 * Tools that agents use (package managers, browsers) start many threads; the server's default is too small for them.
 */
const PIDS_LIMIT = 4096;
/** Clients send this when nothing should be started. The sandbox stays up without it. */
const IDLE_COMMAND = 'tail -f /dev/null';

/** @throws ServiceError `not_supported` for features that millibox does not have, `forbidden`, `invalid_request` */
export function toCreateRequest(body: CreateBody, config: PrimeConfig): CreateSandboxRequest {
  refuseWhatIsMissing(body);
  const asked = body.docker_image ?? '';
  const image = resolveImage(asked, config);
  const diskGb = body.disk_size_gb ?? DEFAULT_DISK_GB;
  const labels = toLabels(body.labels, {
    vm: body.vm ?? false,
    timeoutMinutes: body.timeout_minutes,
    idleTimeoutMinutes: body.idle_timeout_minutes ?? null,
    diskGb,
    image: image === asked ? null : asked.slice(0, 250),
    team: body.team_id ?? null,
    region: body.region ?? null,
    secretNames: Object.keys(body.secrets ?? {}),
  });
  const startCommand = startCommandOf(body.start_command);
  return check(
    CreateSandboxRequest,
    {
      image,
      name: body.name,
      cpus: body.cpu_cores,
      memoryMb: Math.max(16, Math.round(body.memory_gb * 1024)),
      ...(config.limitDisk ? { diskMb: diskOf(diskGb) } : {}),
      pidsLimit: PIDS_LIMIT,
      network: networkOf(body, config.network),
      env: body.environment_vars ?? {},
      secrets: body.secrets ?? {},
      labels,
      ...(startCommand === null ? {} : { startCommand }),
      timeoutMs: lifetime(body.timeout_minutes),
      ...(body.idle_timeout_minutes === undefined ? {} : { idleTimeoutMs: lifetime(body.idle_timeout_minutes) }),
    },
    'body',
  );
}

/** @throws ServiceError `invalid_request` */
function diskOf(gigabytes: number): number {
  const diskMb = Math.round(gigabytes * 1024);
  if (diskMb >= MIN_DISK_MB) return diskMb;
  throw new ServiceError('invalid_request', `body.disk_size_gb: at least ${MIN_DISK_MB / 1024}`);
}

function refuseWhatIsMissing(body: CreateBody): void {
  const refuse = (what: string): never => {
    throw new ServiceError('not_supported', `${what} is not available on this server`);
  };
  if (body.checkpoint_id !== undefined) refuse('restoring a checkpoint');
  if (body.gpu_count > 0) refuse('a GPU');
  if ((body.volumes ?? []).length > 0) refuse('a volume');
  if (body.arch === 'arm64' && process.arch !== 'arm64') refuse('the architecture arm64');
  if (body.docker_image === undefined) throw new ServiceError('invalid_request', 'docker_image is missing');
}

/** No limit, or one beyond ours, means the longest lifetime we allow. */
function lifetime(minutes: number): number {
  return minutes <= 0 ? MAX_TIMEOUT_MS : Math.min(MAX_TIMEOUT_MS, minutes * MINUTE_MS);
}

/**
 * The network can only be on or off.
 * @throws ServiceError `not_supported` for a list of hosts.
 */
export function networkOf(
  body: Pick<CreateBody, 'network_access' | 'network_allowlist' | 'network_denylist'>,
  otherwise: Network,
): Network {
  const { network_access: access, network_allowlist: allow, network_denylist: deny } = body;
  if (allow !== undefined && deny !== undefined)
    throw new ServiceError('invalid_request', 'give one of the two network lists');
  if (allow !== undefined) return allOrNothing(allow, 'internet', 'off');
  if (deny !== undefined) return allOrNothing(deny, 'off', 'internet');
  if (access === false) return 'off';
  return otherwise;
}

function allOrNothing(hosts: readonly string[], all: Network, none: Network): Network {
  if (hosts.length === 0) return none;
  if (hosts.length === 1 && hosts[0] === '*') return all;
  throw new ServiceError('not_supported', 'this server can open or close the network, but not for single hosts');
}

function startCommandOf(command: CreateBody['start_command']): string | null {
  if (command === undefined) return null;
  if (typeof command !== 'string') return [command.executable, ...command.args].map(quote).join(' ');
  return command.trim() === '' || command.trim() === IDLE_COMMAND ? null : command;
}

const quote = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;
