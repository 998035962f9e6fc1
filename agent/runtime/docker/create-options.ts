/** What a sandbox's container is made of, as Docker wants to hear it. */
import { createHash } from 'node:crypto';
import path from 'node:path';
import type { ContainerCreateOptions } from 'dockerode';
import { CAPABILITIES } from '../capabilities.ts';
import type { LaunchOptions, Limits } from '../runtime.ts';

export const OWNER_LABEL = 'io.millibox.owner';
export const ID_LABEL = 'io.millibox.container';
const IMAGE_LABEL = 'io.millibox.image';

/** The boxinit of this container, and the directory with the socket that it dials. */
const INSIDE = '/.millibox';

/**
 * Engines are set to either. With the host's, a sandbox would see all groups of version 2, and boxinit not which is its own.
 * The types of the client do not know it.
 */
const OWN_VIEW = { CgroupnsMode: 'private' };

/** Which agent a container belongs to: one per data directory. */
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
    // Nothing of the image is run: boxinit is static and needs nothing from it.
    Entrypoint: [`${INSIDE}/bin/boxinit`],
    Cmd: [],
    User: '0:0',
    WorkingDir: '/',
    Hostname: 'sandbox',
    // Engines differ in which sockets their own filter lets through.
    Env: [`MILLIBOX_SOCKET=${INSIDE}/run/agent.sock`, `MILLIBOX_TOKEN=${options.token}`, 'MILLIBOX_FILTER=1'],
    Labels: { [OWNER_LABEL]: host.owner, [ID_LABEL]: options.id, [IMAGE_LABEL]: options.image.id },
    AttachStdin: false,
    AttachStdout: false,
    AttachStderr: false,
    // Docker would run the image's check inside every so often.
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

/** Swap stays off: with it, a memory limit only makes a program slow. */
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
