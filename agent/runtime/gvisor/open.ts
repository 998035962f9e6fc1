/** Opens the runtime `gvisor`. */
import { mkdir, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Boxes } from '../oci/boxes.ts';
import { openCgroups } from '../oci/cgroup-tree.ts';
import { Disks } from '../oci/disk.ts';
import { makeNetwork, needImageTools, openImages } from '../oci/parts.ts';
import { StaleCgroups } from '../oci/stale-cgroups.ts';
import { agentGroup, tagOf } from '../oci/place.ts';
import { hasPassed } from '../oci/trial-record.ts';
import { findProgram, mustRun } from '../oci/programs.ts';
import { RuntimeCli } from '../oci/runtime-cli.ts';
import type { RuntimeConfig } from '../select.ts';
import { GvisorRuntime } from './gvisor-runtime.ts';
import { unmountBelow } from './root-mount.ts';
import { sweep } from './sweep.ts';
import { runTrial } from './trial.ts';

/** The platform is left at the release's default, which needs no rights that a virtual machine may lack. */
const FLAGS = [
  // Programs may connect to existing host sockets; only the agent's is mounted.
  '--host-uds=open',
  '--overlay2=none',
];

/**
 * runsc sets up no network in the node's own network namespace. Older releases detect that namespace by files that
 * newer kernels show in every namespace. It is never the node's here, so the files are hidden.
 */
const HIDING = ['unshare', '--mount', 'sh', '-c', 'mount -t tmpfs none /proc/sys/net && exec "$0" "$@"'];

/** @throws ServiceError `not_supported` that says what is missing. */
export async function openGvisorRuntime(config: RuntimeConfig): Promise<GvisorRuntime> {
  const path = await findProgram(config.oci?.program ?? 'runsc');
  await needImageTools();
  const program = { path, version: await mustRun(path) };
  const tree = openCgroups();
  const dir = join(config.dataDir, 'gvisor');
  await mkdir(dir, { recursive: true, mode: 0o711 });
  const boxes = await Boxes.open(dir, config.log);
  const images = await openImages(config);
  // Mounts of containers whose box has been removed.
  for (const name of await readdir(join(dir, 'grave'))) await unmountBelow(join(dir, 'grave', name));
  const state = join(dir, 'state');
  const cli = {
    off: new RuntimeCli(path, state, [...FLAGS, '--network=none']),
    internet: new RuntimeCli(path, state, [...FLAGS, '--network=sandbox'], HIDING),
  };
  const group = `${agentGroup(config.dataDir)}/gvisor`;
  const { boxinitPath, log } = config;
  await sweep({ boxes, tree, group });
  // No trial if containers exist and the program has passed before: one failure must not abandon them.
  if (boxes.ids().length === 0 || !(await hasPassed(dir, program))) {
    await runTrial({ dir, program, cli: cli.off, tree, group, boxinitPath, log });
  }
  const disks = await Disks.open(dir);
  const network = makeNetwork(tagOf(config.dataDir), config);
  const staleCgroups = new StaleCgroups({ tree, own: dirname(group) });
  staleCgroups.start();
  return new GvisorRuntime({ boxes, tree, cli, images, disks, network, group, boxinitPath, staleCgroups, log });
}
