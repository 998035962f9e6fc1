import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { CgroupTree } from './cgroup-tree.ts';
import { StaleCgroups } from './stale-cgroups.ts';

test('groups that cannot be inspected now are left alone, without an error', () => {
  const root = mkdtempSync(join(tmpdir(), 'mbx-past-'));
  try {
    const tree: CgroupTree = {
      version: 1,
      controllers: { memory: root, cpu: root, pids: root },
      views: [],
      hierarchies: [root],
    };
    mkdirSync(join(root, 'millibox/gone'), { recursive: true });
    writeFileSync(join(root, 'millibox/gone/cgroup.procs'), '');
    const past = new StaleCgroups({ tree, own: '/millibox/own', patienceMs: 0 });
    past.start();
    rmSync(join(root, 'millibox'), { recursive: true });
    // Makes reading fail with ENOTDIR from now on.
    writeFileSync(join(root, 'millibox'), '');
    expect(() => past.close()).not.toThrow();
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});
