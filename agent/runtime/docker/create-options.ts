/** The options of a sandbox's container, in the form of Docker's API. */
import { createHash } from 'node:crypto';
import path from 'node:path';
import type { ContainerCreateOptions } from 'dockerode';
import { CAPABILITIES } from '../capabilities.ts';
import type { LaunchOptions, Limits } from '../runtime.ts';

export const OWNER_LABEL = 'io.millibox.owner';
export const ID_LABEL = 'io.millibox.container';
const IMAGE_LABEL = 'io.millibox.image';

/** Where boxinit and its socket's directory are mounted. */
const INSIDE = '/.millibox';

/**
 * Set explicitly, because engines differ in their default. With the host's view, a sandbox would see all cgroup v2
 * groups, and boxinit could not tell which is its own. The client's types lack this option.
 */
const OWN_VIEW = { CgroupnsMode: 'private' };

/** Identifies the agent that owns a container: one per data directory. */
export function ownerOf(dataDir: string): string {
  return createHash('sha256').update(path.resolve(dataDir)).digest('hex').slice(0, 32);
}

export function createOptions(
  options: LaunchOptions & { image: NonNullable<LaunchOptions['image']> },
  host: { owner: string; boxinitPath: string; network: string },
): ContainerCreateOptions {
  return {
    name: options.id,
    Image: options.image.id,
    // No program of the image runs: boxinit is static and needs nothing from it.
    Entrypoint: [`${INSIDE}/bin/boxinit`],
    Cmd: [],
    User: '0:0',
    WorkingDir: '/',
    Hostname: 'sandbox',
    // boxinit loads its own filter, because engines differ in which sockets theirs allows.
    Env: [`MILLIBOX_SOCKET=${INSIDE}/run/agent.sock`, `MILLIBOX_TOKEN=${options.token}`, 'MILLIBOX_FILTER=1'],
    Labels: { [OWNER_LABEL]: host.owner, [ID_LABEL]: options.id, [IMAGE_LABEL]: options.image.id },
    AttachStdin: false,
    AttachStdout: false,
    AttachStderr: false,
    // Otherwise Docker would run the image's health check inside.
    Healthcheck: { Test: ['NONE'] },
    StopSignal: 'SIGKILL',
    HostConfig: {
      ...limitsOf(options.limits),
      ...(options.limits.diskMb === null ? {} : { StorageOpt: { size: `${options.limits.diskMb}m` } }),
      CapDrop: ['ALL'],
      CapAdd: CAPABILITIES.map((name) => name.replace(/^CAP_/, '')),
      SecurityOpt: ['no-new-privileges'],
      NetworkMode: host.network,
      IpcMode: 'private',
      ...OWN_VIEW,
      Init: false,
      AutoRemove: false,
      RestartPolicy: { Name: 'no' },
      LogConfig: { Type: 'none', Config: {} },
      Mounts: [
        { Type: 'bind', Source: host.boxinitPath, Target: `${INSIDE}/bin/boxinit`, ReadOnly: true },
        { Type: 'bind', Source: options.socketDir, Target: `${INSIDE}/run`, ReadOnly: true },
      ],
    },
  };
}

/** Swap stays off: with it, a memory limit only slows a program down. */
export function limitsOf(limits: Limits): {
  Memory: number;
  MemorySwap: number;
  NanoCpus: number;
  PidsLimit: number;
} {
  const memory = limits.memoryMb * 1024 * 1024;
  return {
    Memory: memory,
    MemorySwap: memory,
    NanoCpus: Math.max(10_000_000, Math.round(limits.cpus * 1e9)),
    PidsLimit: limits.pidsLimit,
  };
}
