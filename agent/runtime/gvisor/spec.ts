/** The OCI configuration of a runsc container. */
import { join } from 'node:path';
import { CAPABILITIES } from '../capabilities.ts';

/** Where boxinit and the agent's socket are mounted. */
export const INSIDE = { boxinit: '/.millibox/boxinit', run: '/.millibox/run' } as const;

/** Mount points besides /tmp. */
export const MOUNT_POINTS = ['/proc', '/dev', '/sys', INSIDE.run];

interface ContainerSpec {
  root: string;
  hostname: string;
  boxinitPath: string;
  socketDir: string;
  cgroupPath: string;
  token: string;
}

/** A bundle's `config.json`. No filters and masks: system calls and /proc are gVisor's own, not the host's. */
export function containerSpec(options: ContainerSpec): object {
  const capabilities = [...CAPABILITIES];
  return {
    ociVersion: '1.0.2',
    root: { path: options.root, readonly: false },
    hostname: options.hostname,
    process: {
      user: { uid: 0, gid: 0 },
      cwd: '/',
      args: [INSIDE.boxinit],
      env: [
        `MILLIBOX_TOKEN=${options.token}`,
        `MILLIBOX_SOCKET=${INSIDE.run}/agent.sock`,
        // gVisor does not signal the end of a link while earlier data is unread: boxinit keeps reading until it sees
        // the end.
        'MILLIBOX_READ_ON=1',
      ],
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
      noNewPrivileges: true,
    },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'strictatime', 'mode=755'] },
      {
        destination: '/dev/shm',
        type: 'tmpfs',
        source: 'shm',
        options: ['nosuid', 'noexec', 'nodev', 'mode=1777', 'size=67108864'],
      },
      { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
      // Explicitly a bind mount: otherwise runsc keeps /tmp in memory, and filling it ends the whole sandbox.
      bind(join(options.root, 'tmp'), '/tmp', 'rw'),
      bind(options.boxinitPath, INSIDE.boxinit, 'ro'),
      bind(options.socketDir, INSIDE.run, 'ro'),
    ],
    linux: {
      namespaces: ['pid', 'network', 'ipc', 'uts', 'mount'].map((type) => ({ type })),
      cgroupsPath: options.cgroupPath,
    },
  };
}

const bind = (source: string, destination: string, access: 'ro' | 'rw'): object => {
  return { source, destination, type: 'bind', options: ['bind', access] };
};
