/** A machine on which runsc cannot make a container reports that, and why, when the runtime is opened. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findCgroups, makeGroup } from '../../../agent/runtime/oci/cgroup-tree.ts';
import { agentGroup } from '../../../agent/runtime/oci/place.ts';
import { openGvisorRuntime } from '../../../agent/runtime/gvisor/open.ts';
import { codeOf } from '../../../agent/testing/code-of.ts';
import { leftGroups, leftMounts, leftProcesses, ownFamily } from '../../helpers/leftovers.ts';
import { ociConfig } from '../oci/subject.ts';

let home: string;
let dataDir: string;
beforeEach(() => {
  home = mkdtempSync(path.join(tmpdir(), 'mbx-trial-'));
  dataDir = path.join(home, 'data');
});
afterEach(() => {
  rmSync(home, { recursive: true, force: true });
});

/** Opens with a program that prints its version, and otherwise runs this script. */
async function openWith(script: string): Promise<void> {
  const program = path.join(home, 'runsc');
  writeFileSync(program, `#!/bin/sh\n[ "$1" = --version ] && exec runsc --version\n${script}\n`, { mode: 0o755 });
  const { oci, ...config } = ociConfig(dataDir);
  const registry = { mirrors: {}, insecure: [] };
  const opened = openGvisorRuntime({ ...config, oci: { registry, archives: {}, ...oci, program }, runtime: 'gvisor' });
  await (await opened).close();
}

test('a program that refuses is quoted, on one line, with advice', async () => {
  const opened = openWith('echo "this kernel is not for me" >&2; exit 1');
  await expect(opened).rejects.toThrow(
    /^\/\S+ cannot start a container here: [^\n]*not for me; set MILLIBOX_OCI_PROGRAM/,
  );
  expect(readdirSync(path.join(dataDir, 'gvisor'))).not.toContain('trial');
  expect(leftGroups([dataDir])).toEqual([]);
});

test('a container that exits at once is not waited for', async () => {
  // Its pid is written to the file that follows `--pid-file`.
  const script = 'for each; do [ "$last" = --pid-file ] && pid=$each; last=$each; done; sleep 0.1 & echo $! >"$pid"';
  expect(await codeOf(openWith(script))).toBe('not_supported');
  expect(leftGroups([dataDir])).toEqual([]);
});

test('leftovers of an agent killed midway are removed by the next', async () => {
  const tree = findCgroups();
  const group = `${agentGroup(dataDir)}/gvisor/mbx-trial-killed`;
  makeGroup(tree, group);
  const left = spawn('sleep', ['60'], { stdio: 'ignore' });
  const ended = once(left, 'exit');
  writeFileSync(path.join(tree.controllers.pids, group, 'cgroup.procs'), String(left.pid));
  await openWith('exec runsc "$@"');
  expect(await ended).toEqual([null, 'SIGKILL']);
  expect(leftGroups([dataDir])).toEqual([]);
});

test('a successful trial leaves nothing behind', async () => {
  const family = ownFamily();
  await openWith('exec runsc "$@"');
  expect(readdirSync(path.join(dataDir, 'gvisor'))).not.toContain('trial');
  expect(leftMounts(home)).toEqual([]);
  expect(leftProcesses(home, family)).toEqual([]);
  expect(leftGroups([dataDir])).toEqual([]);
});
