/** A start or a claim that fails, at any step: everything it had created by then is removed with the container. */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Launched } from '../../../agent/pool/launcher.ts';
import { Bench, LIMITS, run } from '../../../agent/runtime/contract/subject.ts';
import { codeOf } from '../../../agent/testing/code-of.ts';
import { directoriesOf, findCgroups, processesIn } from '../../../agent/runtime/oci/cgroup-tree.ts';
import { agentGroup } from '../../../agent/runtime/oci/place.ts';
import { identify, isAlive, killPid, type ProcessId } from '../../../agent/runtime/oci/pids.ts';
import type { ClaimOptions } from '../../../agent/runtime/runtime.ts';
import { ServiceError } from '../../../src/protocol/errors.ts';
import { leftGroups, leftLoopDevices, leftMounts } from '../../helpers/leftovers.ts';
import { until } from '../../helpers/until.ts';
import { Place } from '../oci-network/places.ts';
import { lacking } from '../oci-network/world.ts';
import { ociSubject, processOf } from './subject.ts';

const exec = promisify(execFile);
const LIMIT_MS = 60_000;
const tree = findCgroups();
const all: Partial<ClaimOptions> = { network: 'internet', limits: { ...LIMITS, diskMb: 8 } };

/** The network namespace of bridge, rules and veth pairs. */
let uplink: Place;
let bench: Bench;
let closed = false;
beforeAll(async () => {
  uplink = await Place.open('uplink');
  bench = await Bench.open(ociSubject({ uplinkPid: uplink.pid, resolvers: [] }));
});
afterAll(async () => {
  if (!closed) await bench?.[Symbol.asyncDispose]();
  await uplink?.close();
});

const at = async (pid: number, ...command: string[]): Promise<string> =>
  (await exec('nsenter', [`--net=/proc/${pid}/ns/net`, ...command])).stdout;
const veths = async (): Promise<string> => await at(uplink.pid, 'ip', '-o', 'link', 'show', 'type', 'veth');

const groups = (): string[] => directoriesOf(tree, agentGroup(bench.dataDir));

/** Everything that exists of a container, anywhere. */
async function left(id: string): Promise<string[]> {
  const homes = ['c', 'oci/boxes', 'oci/disks', 'oci/state'].map((dir) => join(bench.dataDir, dir, id));
  const its = groups().filter((dir) => dir.includes(id));
  return [...homes.filter(existsSync), ...its, ...leftMounts(id), ...(await leftLoopDevices(bench.dataDir))];
}

/** Each makes the claim of a blank fail. */
const FAULTS: Record<string, (launched: Launched) => Promise<Partial<ClaimOptions>>> = {
  'a card of that name is there': async ({ container }) => {
    await at(processOf(bench.runtime, container.id).pid, 'ip', 'link', 'add', 'eth0', 'type', 'bridge');
    return {};
  },
  'the disk is too small': () => Promise.resolve({ limits: { ...LIMITS, diskMb: 1 } }),
  'the disk has no room to be made in': ({ container }) => {
    // In place of the disk's file.
    writeFileSync(join(bench.dataDir, 'oci', 'disks', container.id), '');
    return Promise.resolve({});
  },
  'the disk cannot be copied': ({ container }) => {
    mkdirSync(join(bench.dataDir, 'oci', 'boxes', container.id, 'disk.ext4'));
    return Promise.resolve({});
  },
  'the kernel takes no such limit': () => Promise.resolve({ limits: { ...LIMITS, pidsLimit: -7, diskMb: 8 } }),
  'the image is not there': () => Promise.resolve({ image: { ...bench.image, id: `sha256:${'0'.repeat(64)}` } }),
  'boxinit is dead': async ({ container, link }) => {
    killPid(processOf(bench.runtime, container.id).pid);
    await until(() => !link.connected, LIMIT_MS, 'the end of the link');
    return {};
  },
};

const missing = await lacking();
test.skipIf(missing !== '').each(Object.entries(FAULTS))('a claim fails: %s', async (_, prepare) => {
  const launched = await bench.launch();
  const { id } = launched.container;
  const changes = await prepare(launched);
  const claim = bench.claim(launched, { ...all, ...changes });
  const failure = await claim.then(() => undefined, ServiceError.from);
  // The tenant sees the message: it reveals nothing of the node.
  expect(failure?.message).toEqual(expect.not.stringContaining('/'));
  await bench.launcher.discard(id, launched.link);
  await until(async () => (await left(id)).length === 0, LIMIT_MS, 'it to be gone');
  expect(await veths()).toBe('');
  expect((await bench.runtime.images.list()).filter(({ inUse }) => inUse)).toEqual([]);
});

test.skipIf(missing !== '')('after all that, one with disk and network is claimed, and leaves as little', async () => {
  const launched = await bench.claimed(all);
  const { id } = launched.container;
  expect((await run(launched.link, ['true'])).exit.exitCode).toBe(0);
  expect(await veths()).not.toBe('');
  expect(await left(id)).not.toEqual([]);
  await bench.launcher.discard(id, launched.link);
  await until(async () => (await left(id)).length === 0, LIMIT_MS, 'it to be gone');
  expect(await veths()).toBe('');
});

test('a start fails if the kernel has no process for it, and the next one succeeds', async () => {
  const before = await bench.launch();
  const nursery = processOf(bench.runtime, before.container.id).cgroup.split('/').slice(0, -1).join('/');
  const limit = join(tree.controllers.pids, nursery, 'pids.max');
  const kept = readFileSync(limit, 'utf8');
  writeFileSync(limit, '1');
  try {
    expect(await codeOf(bench.launch())).toBe('internal');
    await bench.launcher.settled(AbortSignal.timeout(LIMIT_MS));
  } finally {
    writeFileSync(limit, kept.trim());
  }
  const there = (await bench.runtime.list()).map(({ id }) => id);
  expect(there).toEqual([before.container.id]);
  expect(directoriesOf(tree, nursery).filter((dir) => /mbx-/.test(dir) && !dir.includes(before.container.id))).toEqual(
    [],
  );
  await bench.launcher.discard(before.container.id, before.link);
  const next = await bench.launch();
  expect(processOf(bench.runtime, next.container.id).by).toBe('nursery');
});

/** The process that makes the next blanks. One that has just exited is replaced only after a pause. */
async function nursery(): Promise<ProcessId> {
  let group = '';
  await until(
    async () => {
      const { container, link } = await bench.launch();
      const { by, cgroup } = processOf(bench.runtime, container.id);
      await bench.launcher.discard(container.id, link);
      group = cgroup.split('/').slice(0, -1).join('/');
      return by === 'nursery';
    },
    LIMIT_MS,
    'a blank of a nursery',
  );
  const isOfBlank = (pid: number): boolean => readFileSync(`/proc/${pid}/cgroup`, 'utf8').includes('/mbx-');
  const [pid = 0, ...others] = processesIn(tree, group).filter((each) => !isOfBlank(each));
  expect(others).toEqual([]);
  const found = identify(pid);
  // A signal to process 0 would reach this test.
  if (pid <= 1 || found === undefined) throw new Error('a nursery without a process');
  return found;
}

test('killing a nursery with unread starts fails only these, and the agent continues with another', async () => {
  const first = await nursery();
  process.kill(first.pid, 'SIGSTOP');
  const isOfBlank = (dir: string): boolean => /\/mbx-[^/]+$/.test(dir);
  const begun = (): number =>
    new Set(
      groups()
        .filter(isOfBlank)
        .map((dir) => basename(dir)),
    ).size;
  const before = begun();
  const starts = Promise.all(Array.from({ length: 4 }, () => codeOf(bench.launch())));
  // A blank's group is created in the same turn as the request for it is written.
  await until(() => begun() === before + 4, LIMIT_MS, 'the starts');
  process.kill(first.pid, 'SIGKILL');
  expect(await starts).toEqual(['internal', 'internal', 'internal', 'internal']);
  expect((await nursery()).pid).not.toBe(first.pid);
});

test('a stopped nursery is killed, and the agent continues with another', async () => {
  const first = await nursery();
  process.kill(first.pid, 'SIGSTOP');
  expect(await codeOf(bench.launch())).toBe('deadline_exceeded');
  await until(() => !isAlive(first), LIMIT_MS, 'the end of the stopped one');
  expect((await nursery()).pid).not.toBe(first.pid);
});

test('nothing is left of the agent either', async () => {
  closed = true;
  await bench[Symbol.asyncDispose]();
  expect(leftGroups([bench.dataDir])).toEqual([]);
  expect(leftMounts(bench.dataDir)).toEqual([]);
  expect(await at(uplink.pid, 'ip', '-o', 'link', 'show', 'type', 'bridge')).toBe('');
  expect(await at(uplink.pid, 'nft', 'list', 'tables')).toBe('');
});
