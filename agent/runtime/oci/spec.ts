/** The OCI configuration of a blank: Docker's namespaces and kernel file systems, but no image. */
import { readdirSync } from 'node:fs';
import { CAPABILITIES } from '../capabilities.ts';
import type { Seccomp } from './seccomp.ts';

/** Capabilities for mounting an image, dropped at the end of the claim. */
const CLAIM_CAPABILITIES = ['CAP_SYS_ADMIN', 'CAP_NET_ADMIN', 'CAP_MKNOD'] as const;

/** System calls needed for a claim that the default profile forbids. */
export const CLAIM_CALLS = [
  'mount',
  'umount2',
  'pivot_root',
  'sethostname',
  'setns',
  'unshare',
  'clone',
  'clone3',
] as const;

/**
 * The same as those of the newest Docker, whatever version the node has. Energy counters, interrupts and throttling are
 * side channels that reveal what other programs on the node do, down to the bits of their keys.
 */
export const MASKED_PATHS = [
  '/proc/asound',
  '/proc/acpi',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/sys/firmware',
  '/sys/devices/virtual/powercap',
  ...throttlingOf('/sys/devices/system/cpu'),
];

/** The path of each of the node's processors. */
export function throttlingOf(dir: string): string[] {
  try {
    const processors = readdirSync(dir).filter((name) => /^cpu\d+$/.test(name));
    return processors.map((name) => `${dir}/${name}/thermal_throttle`);
  } catch {
    // A node without /sys has nothing to hide there.
    return [];
  }
}

export const READONLY_PATHS = [
  '/proc/bus',
  '/proc/fs',
  '/proc/irq',
  '/proc/sys',
  '/proc/sysrq-trigger',
  // Not in Docker's list. Through it, root could make boxinit the OOM killer's first victim.
  '/proc/1',
];

/** Where boxinit and the agent's directories are mounted in a blank. None of them is visible after the claim. */
export const INSIDE = {
  boxinit: '/.millibox/boxinit',
  data: '/.millibox/data',
  images: '/.millibox/images',
  disks: '/.millibox/disks',
  groups: '/.millibox/groups',
  root: '/.millibox/root',
} as const;

interface BlankSpec {
  rootDir: string;
  dataDir: string;
  imagesDir: string;
  disksDir: string;
  boxinitPath: string;
  cgroupPath: string;
  seccomp: Seccomp;
  env: Record<string, string>;
}

/** A bundle's `config.json`, version 1.0.2 of the runtime specification. */
export function blankSpec(options: BlankSpec): object {
  return spec(options, {
    mounts: KERNEL_MOUNTS,
    namespaces: ['pid', 'network', 'ipc', 'uts', 'mount', 'cgroup'],
    maskedPaths: MASKED_PATHS,
    readonlyPaths: READONLY_PATHS,
  });
}

/**
 * A nursery shares the host's PID namespace, so that it can report its children's pids, and sees its agent's cgroups,
 * so that they can enter theirs. It has no /sys: each child mounts its own.
 */
export function nurserySpec(options: BlankSpec & { groups: { outside: string; inside: string }[] }): object {
  const groups = options.groups.map(({ outside, inside }) =>
    bind(outside, inside, ['rw', 'nosuid', 'nodev', 'noexec']),
  );
  return spec(options, {
    mounts: [...KERNEL_MOUNTS.filter(({ destination }) => ['/proc', '/dev'].includes(destination)), ...groups],
    namespaces: ['network', 'ipc', 'uts', 'mount'],
    maskedPaths: [],
    readonlyPaths: [],
  });
}

interface Parts {
  mounts: readonly object[];
  namespaces: readonly string[];
  maskedPaths: readonly string[];
  readonlyPaths: readonly string[];
}

function spec(options: BlankSpec, { mounts, namespaces, maskedPaths, readonlyPaths }: Parts): object {
  const capabilities = [...CAPABILITIES, ...CLAIM_CAPABILITIES];
  return {
    ociVersion: '1.0.2',
    root: { path: options.rootDir, readonly: true },
    hostname: 'blank',
    process: {
      user: { uid: 0, gid: 0, additionalGids: [0] },
      cwd: '/',
      args: [INSIDE.boxinit],
      env: Object.entries(options.env).map(([name, value]) => `${name}=${value}`),
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
      // boxinit sets it at the end of the claim.
      noNewPrivileges: false,
    },
    mounts: [
      ...mounts,
      bind(options.boxinitPath, INSIDE.boxinit, ['ro', 'nosuid', 'nodev']),
      bind(options.dataDir, INSIDE.data, ['rw', 'nosuid', 'nodev']),
      bind(options.imagesDir, INSIDE.images, ['ro', 'nosuid', 'nodev']),
      // rslave: mounts and unmounts there propagate into the blank.
      bind(options.disksDir, INSIDE.disks, ['rw', 'nosuid', 'nodev', 'rslave']),
    ],
    linux: {
      namespaces: namespaces.map((type) => ({ type })),
      cgroupsPath: options.cgroupPath,
      resources: { devices: DEVICE_RULES },
      seccomp: options.seccomp,
      maskedPaths,
      readonlyPaths,
      rootfsPropagation: 'private',
    },
  };
}

const bind = (source: string, destination: string, options: string[]): object => {
  return { source, destination, type: 'bind', options: ['bind', ...options] };
};

const KERNEL_MOUNTS = [
  { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
  {
    destination: '/dev',
    type: 'tmpfs',
    source: 'tmpfs',
    options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
  },
  {
    destination: '/dev/pts',
    type: 'devpts',
    source: 'devpts',
    options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5', 'max=256'],
  },
  { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
  {
    destination: '/sys/fs/cgroup',
    type: 'cgroup',
    source: 'cgroup',
    options: ['ro', 'nosuid', 'noexec', 'nodev', 'relatime'],
  },
  { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
  {
    destination: '/dev/shm',
    type: 'tmpfs',
    source: 'shm',
    options: ['nosuid', 'noexec', 'nodev', 'mode=1777', 'size=67108864'],
  },
];

/** Docker's rule: no device may be opened. The runtime adds null, zero, tty, random and the like. */
const DEVICE_RULES = [{ allow: false, access: 'rwm' }];
