import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ServiceError } from '../../../src/protocol/errors.ts';
import { readLimits, readOomKills, writeLimits } from './cgroup-limits.ts';
import {
  findCgroups,
  groupsBelow,
  makeGroup,
  makeRoom,
  processesIn,
  removeGroup,
  type CgroupTree,
} from './cgroup-tree.ts';

const mount = (point: string, kind: string, options: string): string =>
  `30 20 0:26 / ${point} rw,nosuid - ${kind} ${kind} ${options}`;

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'mbx-cgroup-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

describe('finding cgroups', () => {
  test('v1, with controllers that share a hierarchy, is preferred to an empty v2 beside it', () => {
    const tree = findCgroups(
      [
        mount('/sys/fs/cgroup/memory', 'cgroup', 'rw,memory'),
        mount('/sys/fs/cgroup/cpu,cpuacct', 'cgroup', 'rw,cpu,cpuacct'),
        mount('/sys/fs/cgroup/pids', 'cgroup', 'rw,pids'),
        mount('/sys/fs/cgroup/systemd', 'cgroup', 'rw,xattr,name=systemd'),
        mount('/sys/fs/cgroup/unified', 'cgroup2', 'rw'),
      ].join('\n'),
    );
    expect(tree.version).toBe(1);
    expect(tree.controllers.cpu).toBe('/sys/fs/cgroup/cpu,cpuacct');
    expect(tree.views).toContainEqual({ name: 'cpu,cpuacct', kind: 'cgroup', options: 'cpu,cpuacct' });
    expect(tree.views).toContainEqual({ name: 'systemd', kind: 'cgroup', options: 'name=systemd' });
    expect(tree.hierarchies).toContain('/sys/fs/cgroup/unified');
  });

  test('v2 is one hierarchy with all controllers', () => {
    writeFileSync(join(root, 'cgroup.controllers'), 'cpuset cpu io memory pids\n');
    const tree = findCgroups(mount(root, 'cgroup2', 'rw'));
    expect(tree.version).toBe(2);
    expect(new Set(Object.values(tree.controllers))).toEqual(new Set([root]));
    expect(tree.views).toEqual([{ name: '', kind: 'cgroup2', options: '' }]);
  });

  test('a machine without the controllers is not supported', () => {
    writeFileSync(join(root, 'cgroup.controllers'), 'io\n');
    expect(() => findCgroups(mount(root, 'cgroup2', 'rw'))).toThrow(ServiceError);
  });
});

describe('cgroup v2', () => {
  const limits = { cpus: 1.5, memoryMb: 128, diskMb: null, pidsLimit: 77 };
  const tree = (): CgroupTree => ({
    version: 2,
    controllers: { memory: root, cpu: root, pids: root },
    views: [],
    hierarchies: [root],
  });

  test('parent groups pass their controllers down', () => {
    writeFileSync(join(root, 'cgroup.subtree_control'), '');
    makeGroup(tree(), 'a/b');
    expect(readFileSync(join(root, 'cgroup.subtree_control'), 'utf8')).toBe('+memory +cpu +pids');
    expect(readFileSync(join(root, 'a', 'cgroup.subtree_control'), 'utf8')).toBe('+memory +cpu +pids');
  });

  test('limits are written with swap off, and read back', () => {
    const group = join(root, 'box');
    mkdirSync(group);
    writeFileSync(join(group, 'memory.swap.max'), '');
    writeLimits(tree(), 'box', limits);
    expect(readFileSync(join(group, 'cpu.max'), 'utf8')).toBe('150000 100000');
    expect(readFileSync(join(group, 'memory.swap.max'), 'utf8')).toBe('0');
    expect(readLimits(tree(), 'box')).toEqual({ cpus: 1.5, memoryMb: 128, pidsLimit: 77 });
  });

  test('every limit that a group does not have yet is written, and no other', () => {
    const changes = { memoryMb: 129, cpus: 2, pidsLimit: 78, diskMb: 8 };
    const files = { memoryMb: ['memory.max'], cpus: ['cpu.max'], pidsLimit: ['pids.max'], diskMb: [] };
    for (const name of ['memoryMb', 'cpus', 'pidsLimit', 'diskMb'] as const) {
      mkdirSync(join(root, name));
      writeLimits(tree(), name, { ...limits, [name]: changes[name] }, limits);
      expect(readdirSync(join(root, name))).toEqual(files[name]);
    }
  });

  test('what a kernel lacks is looked for once, but not in a group that is gone', () => {
    const kernel = tree();
    const swap = (group: string): string => join(root, group, 'memory.swap.max');
    // Writing to a directory as a file fails, and so does writing to a file of no directory.
    expect(() => writeLimits(kernel, 'gone', limits)).toThrow('ENOENT');
    for (const group of ['with', 'without', 'unseen']) mkdirSync(join(root, group));
    for (const group of ['with', 'unseen']) mkdirSync(swap(group));
    expect(() => writeLimits(kernel, 'with', limits)).toThrow('EISDIR');
    writeLimits(kernel, 'without', limits);
    writeLimits(kernel, 'unseen', limits);
  });

  test('a kernel without swap accounting has no swap limit, and a limit that cannot be set is an error', () => {
    mkdirSync(join(root, 'box'));
    writeLimits(tree(), 'box', limits);
    expect(existsSync(join(root, 'box', 'memory.swap.max'))).toBe(false);
    // Writing to a directory as a file fails.
    mkdirSync(join(root, 'box', 'memory.swap.max'));
    expect(() => writeLimits(tree(), 'box', limits)).toThrow('EISDIR');
  });

  test('OOM kills are counted, and are zero without a group', async () => {
    mkdirSync(join(root, 'box'));
    writeFileSync(join(root, 'box', 'memory.events'), 'low 0\noom 3\noom_kill 2\noom_group_kill 0\n');
    expect(await readOomKills(tree(), 'box')).toBe(2);
    expect(await readOomKills(tree(), 'gone')).toBe(0);
  });

  test('an unreadable OOM count does not pass for zero', async () => {
    // Reading a directory as a file fails, and a file as a directory.
    mkdirSync(join(root, 'box', 'memory.events'), { recursive: true });
    writeFileSync(join(root, 'unlistable'), '');
    await expect(readOomKills(tree(), 'box')).rejects.toThrow('EISDIR');
    await expect(readOomKills(tree(), 'unlistable')).rejects.toThrow('ENOTDIR');
  });

  test('processes are found in a group and below it, and none in a missing one', () => {
    for (const [group, pids] of [
      ['box', '12\n13\n'],
      ['box/below', '14\n'],
    ] as const) {
      mkdirSync(join(root, group));
      writeFileSync(join(root, group, 'cgroup.procs'), pids);
    }
    expect(processesIn(tree(), 'box')).toEqual([12, 13, 14]);
    expect(processesIn(tree(), 'gone')).toEqual([]);
    expect(groupsBelow(tree(), 'gone')).toEqual([]);
    expect(removeGroup(tree(), 'gone')).toBe(true);
  });

  test('an unreadable group is neither empty, nor gone, nor childless', () => {
    // Reading a directory as a file fails, and a file as a directory.
    mkdirSync(join(root, 'box', 'cgroup.procs'), { recursive: true });
    writeFileSync(join(root, 'unlistable'), '');
    expect(processesIn(tree(), 'box')).not.toEqual([]);
    expect(processesIn(tree(), 'unlistable')).not.toEqual([]);
    expect(() => groupsBelow(tree(), 'unlistable')).toThrow('ENOTDIR');
    expect(removeGroup(tree(), 'unlistable')).toBe(false);
  });

  test("a container's top group that already passes controllers down stays as it is", () => {
    writeFileSync(join(root, 'cgroup.type'), 'domain\n');
    writeFileSync(join(root, 'cgroup.procs'), '12\n');
    writeFileSync(join(root, 'cgroup.subtree_control'), 'cpu io memory pids\n');
    makeRoom(root);
    expect(existsSync(join(root, 'init'))).toBe(false);
  });

  test("processes in a container's top group are moved below it, and it is an error if that does not help", () => {
    writeFileSync(join(root, 'cgroup.type'), 'domain\n');
    writeFileSync(join(root, 'cgroup.procs'), '12\n');
    // In an ordinary directory this moves no process and passes no controller down.
    writeFileSync(join(root, 'cgroup.subtree_control'), '');
    expect(() => makeRoom(root)).toThrow(/cannot be divided/);
    expect(readFileSync(join(root, 'init', 'cgroup.procs'), 'utf8')).toBe('12');
  });
});

describe('cgroup v1', () => {
  const limits = { cpus: 0.5, memoryMb: 64, diskMb: null, pidsLimit: 33 };
  const bytes = String(64 * 1024 * 1024);
  const tree = (): CgroupTree => {
    const [memory, cpu, pids] = ['memory', 'cpu,cpuacct', 'pids'].map((name) => join(root, name));
    return {
      version: 1,
      controllers: { memory, cpu, pids },
      views: [],
      hierarchies: [memory, cpu, pids],
    } as CgroupTree;
  };
  const memoryFile = (name: string): string => join(root, 'memory', 'box', name);
  beforeEach(() => makeGroup(tree(), 'box'));

  test('limits are written with swap off and socket memory counted, and read back', () => {
    for (const name of ['memory.memsw.limit_in_bytes', 'memory.kmem.tcp.limit_in_bytes']) {
      writeFileSync(memoryFile(name), '');
    }
    writeLimits(tree(), 'box', limits);
    expect(readFileSync(memoryFile('memory.limit_in_bytes'), 'utf8')).toBe(bytes);
    expect(readFileSync(memoryFile('memory.memsw.limit_in_bytes'), 'utf8')).toBe(bytes);
    expect(readFileSync(memoryFile('memory.kmem.tcp.limit_in_bytes'), 'utf8')).toBe(bytes);
    expect(readFileSync(join(root, 'cpu,cpuacct', 'box', 'cpu.cfs_quota_us'), 'utf8')).toBe('50000');
    expect(readLimits(tree(), 'box')).toEqual({ cpus: 0.5, memoryMb: 64, pidsLimit: 33 });
  });

  test('a kernel without swap accounting has no swap limit, and a limit that cannot be set is an error', () => {
    writeLimits(tree(), 'box', limits);
    expect(existsSync(memoryFile('memory.memsw.limit_in_bytes'))).toBe(false);
    // Writing to a directory as a file fails.
    mkdirSync(memoryFile('memory.memsw.limit_in_bytes'));
    expect(() => writeLimits(tree(), 'box', limits)).toThrow('EISDIR');
  });

  test('the smallest CPU share is the least the kernel accepts', () => {
    writeLimits(tree(), 'box', { ...limits, cpus: 0.0001 });
    expect(readLimits(tree(), 'box').cpus).toBe(0.01);
  });

  test('OOM kills are counted', async () => {
    writeFileSync(memoryFile('memory.oom_control'), 'oom_kill_disable 0\nunder_oom 0\noom_kill 3\n');
    expect(await readOomKills(tree(), 'box')).toBe(3);
  });
});
