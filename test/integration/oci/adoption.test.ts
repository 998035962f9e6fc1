/** What a later agent of the same directory finds, and what it cleans up. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { findCgroups, groupsBelow, makeGroup } from '../../../agent/runtime/oci/cgroup-tree.ts';
import { agentGroup, makePlace } from '../../../agent/runtime/oci/place.ts';
import { killPid } from '../../../agent/runtime/oci/pids.ts';
import { Bench, LIMITS, run, type ContractSubject } from '../../../agent/runtime/contract/subject.ts';
import type { ContainerRuntime } from '../../../agent/runtime/runtime.ts';
import { ContainerHomes } from '../../../agent/pool/container-homes.ts';
import { Launcher } from '../../../agent/pool/launcher.ts';
import { silent } from '../../../src/lib/logger.ts';
import { leftGroups, leftMounts, leftProcesses, ownFamily } from '../../helpers/leftovers.ts';
import { until } from '../../helpers/until.ts';
import { ociSubject, processOf } from './subject.ts';

const LIMIT_MS = 60_000;
const subject: ContractSubject = ociSubject();

test('a later runtime finds containers as they are, sees their exit, and can destroy them', async () => {
  await using bench = await Bench.open(subject);
  const claimed = await bench.claimed();
  const waiting = await bench.launch();
  const later = await subject.open(bench.dataDir);
  const found = new Map((await later.list()).map((each) => [each.id, each]));
  expect(found.get(claimed.container.id)).toMatchObject({ running: true, imageId: bench.image.id });
  expect(found.get(waiting.container.id)).toMatchObject({ running: true, imageId: null });

  const ended: string[] = [];
  later.onExit((id) => ended.push(id));
  killPid(processOf(later, claimed.container.id).pid);
  await until(() => ended.includes(claimed.container.id), LIMIT_MS, 'the end to be told');
  await later.destroy(claimed.container.id);
  await later.destroy(waiting.container.id);
  expect(await later.list()).toEqual([]);
  await later.close();
});

test('an image used by a container of an earlier runtime is in use', async () => {
  await using bench = await Bench.open(subject);
  const { container } = await bench.claimed();
  const later = await subject.open(bench.dataDir);
  expect((await later.images.list()).find(({ ref }) => ref === subject.image)?.inUse).toBe(true);
  await later.destroy(container.id);
  expect((await later.images.list()).find(({ ref }) => ref === subject.image)?.inUse).toBe(false);
  await later.close();
});

test('blanks outlive their nursery, and the next ones come from another', async () => {
  await using bench = await Bench.open(subject);
  const before = await bench.launch();
  await bench.runtime.close();
  const later = await subject.open(bench.dataDir);
  expect(await makerOfNext(later, bench.dataDir)).toBe('nursery');
  await bench.claim(before);
  expect((await run(before.link, ['echo', 'lives'])).stdout).toBe('lives\n');
  await later.close();
});

test('a nursery that fails to start ends no sandbox, and blanks come from the runtime', async () => {
  await using bench = await Bench.open(subject);
  const before = await bench.claimed();
  await bench.runtime.close();
  // When a container fails to start, a runtime finally kills everything in the container's groups.
  const program = join(bench.dataDir, 'runtime-without-nurseries');
  const config = `${bench.dataDir}/oci/nurseries/$last/config.json`;
  const spoil = `case $last in nursery-*) sed -i 's#"args":\\["[^"]*"#"args":["/nothing"#' ${config} ;; esac`;
  writeFileSync(program, `#!/bin/sh\nfor last; do :; done\n${spoil}\nexec runc "$@"\n`, { mode: 0o755 });
  const later = await ociSubject({ program }).open(bench.dataDir);
  expect(await makerOfNext(later, bench.dataDir)).toBe('runtime');
  expect((await run(before.link, ['echo', 'lives'])).stdout).toBe('lives\n');
  await later.close();
});

test('after a reboot nothing from before is running, and everything can be cleaned up', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'mbx-'));
  try {
    const tree = findCgroups();
    const place = makePlace({ dataDir, imagesDir: dataDir, disksDir: dataDir, boxinitPath: '/x', seccomp: NO_SECCOMP });
    // Directories and groups without a process: as left by a power cut.
    const [box, unborn] = ['mbx-dead', 'mbx-unborn'].map((id) => join(dataDir, 'oci', 'boxes', id)) as [string, string];
    mkdirSync(join(box, 'upper'), { recursive: true });
    const state = { pid: 2 ** 22 - 1, startTime: 1, cgroup: place.boxGroup('mbx-dead'), by: 'nursery' };
    writeFileSync(join(box, 'state.json'), JSON.stringify(state));
    mkdirSync(join(unborn, 'upper'), { recursive: true });
    makeGroup(tree, place.boxGroup('mbx-unborn'));
    makeGroup(tree, place.boxGroup('mbx-dead'));
    makeGroup(tree, place.boxGroup('mbx-forgotten'));
    mkdirSync(join(dataDir, 'oci', 'state', 'mbx-forgotten'), { recursive: true });
    mkdirSync(join(dataDir, 'oci', 'nurseries', 'nursery-dead'), { recursive: true });
    mkdirSync(join(dataDir, 'oci', 'grave', 'mbx-older'), { recursive: true });

    const runtime = await subject.open(dataDir);
    expect(groupsBelow(tree, place.boxesGroup)).toEqual(['mbx-dead']);
    expect(existsSync(join(dataDir, 'oci', 'state', 'mbx-forgotten'))).toBe(false);
    expect(existsSync(join(dataDir, 'oci', 'nurseries', 'nursery-dead'))).toBe(false);
    expect(await runtime.list()).toEqual([{ id: 'mbx-dead', running: false, imageId: null }]);
    await runtime.destroy('mbx-dead');
    await runtime.close();
    expect(readdirSync(join(dataDir, 'oci', 'boxes'))).toEqual([]);
    expect(readdirSync(join(dataDir, 'oci', 'grave'))).toEqual([]);
    expect(groupsBelow(tree, place.group)).toEqual([]);
    expect(leftMounts(dataDir)).toEqual([]);
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
});

test('an agent leaves no cgroup, nor one of another runtime that had its directory', async () => {
  let dataDir = '';
  {
    await using bench = await Bench.open(subject);
    dataDir = bench.dataDir;
    makeGroup(findCgroups(), `${agentGroup(dataDir)}/gvisor`);
    await bench.claimed();
  }
  expect(leftGroups([dataDir])).toEqual([]);
});

test('fifty concurrent claims are fifty sandboxes, and afterwards nothing is left', async () => {
  const family = ownFamily();
  let dataDir = '';
  {
    await using bench = await Bench.open(subject);
    dataDir = bench.dataDir;
    const names = Array.from({ length: 50 }, (_, i) => `sbx-${i}`);
    const seen = await Promise.all(
      names.map(async (sandbox) => {
        const { link } = await bench.claimed({ sandbox });
        await run(link, ['sh', '-c', 'cat /proc/sys/kernel/hostname >>/mine']);
        return (await run(link, ['cat', '/mine'])).stdout.trim();
      }),
    );
    expect(seen).toEqual(names);
  }
  expect(leftProcesses(dataDir, family)).toEqual([]);
  expect(leftMounts(dataDir)).toEqual([]);
});

/** Launches a blank, destroys it, and returns who made it. */
async function makerOfNext(runtime: ContainerRuntime, dataDir: string): Promise<string> {
  const launcher = new Launcher(runtime, new ContainerHomes(dataDir), silent);
  const spec = { poolKey: 'contract', image: undefined, limits: LIMITS, network: 'off' } as const;
  const { container, link } = await launcher.launch(spec, new AbortController().signal);
  const { by } = processOf(runtime, container.id);
  await launcher.discard(container.id, link);
  return by;
}

const NO_SECCOMP = { defaultAction: 'SCMP_ACT_ALLOW', architectures: [], syscalls: [] };
