/**
 * The node-native runtime with crun: a part of the contract, with one run of the program per container, and with one
 * for all.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe } from 'vitest';
import { containerChapter } from '../../../agent/runtime/contract/containers.ts';
import { isolationChapter } from '../../../agent/runtime/contract/isolation.ts';
import { findCgroups } from '../../../agent/runtime/oci/cgroup-tree.ts';
import { ociSubject } from './subject.ts';

const dir = mkdtempSync(path.join(tmpdir(), 'mbx-crun-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** As in docs/runtimes.md, for a machine with both versions of cgroups mounted. */
const WRAPPER = `#!/bin/sh
exec unshare --mount sh -c 'umount /sys/fs/cgroup/unified; exec crun "$@"' crun "$@"
`;

function isInstalled(): boolean {
  try {
    execFileSync('crun', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

function program(): string {
  const tree = findCgroups();
  if (tree.version === 2 || !tree.hierarchies.includes('/sys/fs/cgroup/unified')) return 'crun';
  const wrapper = path.join(dir, 'crun');
  writeFileSync(wrapper, WRAPPER, { mode: 0o755 });
  return wrapper;
}

const installed = isInstalled();
describe.skipIf(!installed)(`crun${installed ? '' : ' (skipped: it is not installed)'}`, () => {
  describe('a run for each container', () => containerChapter(ociSubject({ program: program(), nursery: false })));
  describe('a run for all of them', () => isolationChapter(ociSubject({ program: program() })));
});
