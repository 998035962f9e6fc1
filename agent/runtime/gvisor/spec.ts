/** What runsc is told of a container. */
import { join } from 'node:path';
import { CAPABILITIES } from '../capabilities.ts';

/** Where boxinit and its agent are found inside. */
export const INSIDE = { boxinit: '/.millibox/boxinit', run: '/.millibox/run' } as const;

/** Directories that are mounted on, besides /tmp. */
export const MOUNT_POINTS = ['/proc', '/dev', '/sys', INSIDE.run];

interface ContainerSpec {
  root: string;
  hostname: string;
  boxinitPath: string;
  socketDir: string;
  cgroupPath: string;
  token: string;
}

/** `config.json` of a bundle. gVisor's kernel stands between program and host: filters and masks would be for its own files. */
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
        // Its kernel does not say that more than data has come: the end of the link would go unseen behind it.
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
      // Said to be what it is anyway: otherwise runsc would have it in memory, and who fills that ends the whole sandbox.
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
