/** Opens the runtime `oci`. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { CAPABILITIES } from '../capabilities.ts';
import type { RuntimeConfig } from '../select.ts';
import { NurseryBlanks, RuntimeBlanks } from './blanks.ts';
import { Boxes } from './boxes.ts';
import { openCgroups } from './cgroup-tree.ts';
import { Disks } from './disk.ts';
import { OciRuntime } from './oci-runtime.ts';
import { imagesDirOf, makeNetwork, needImageTools, openImages } from './parts.ts';
import { StaleCgroups } from './stale-cgroups.ts';
import { makePlace, ociDirOf } from './place.ts';
import { hasPassed } from './trial-record.ts';
import { findProgram, mustRun } from './programs.ts';
import { RuntimeCli } from './runtime-cli.ts';
import { seccompFor } from './seccomp.ts';
import { sweep } from './sweep.ts';
import { CLAIM_CALLS } from './spec.ts';
import { runTrial } from './trial.ts';

/** @throws ServiceError `not_supported` that says what is missing. */
export async function openOciRuntime(config: RuntimeConfig): Promise<OciRuntime> {
  const path = await findProgram(config.oci?.program ?? 'runc');
  await needImageTools();
  const program = { path, version: await mustRun(path) };
  const tree = openCgroups();
  const seccomp = seccompFor(CAPABILITIES, CLAIM_CALLS);
  await mkdir(config.dataDir, { recursive: true, mode: 0o711 });
  const disks = await Disks.open(ociDirOf(config.dataDir));
  const place = makePlace({
    dataDir: config.dataDir,
    imagesDir: imagesDirOf(config),
    disksDir: disks.dir,
    boxinitPath: config.boxinitPath,
    seccomp,
  });
  const boxes = await Boxes.open(place.ociDir, config.log);
  const cli = new RuntimeCli(path, join(place.ociDir, 'state'));
  await sweep({ place, boxes, tree, cli });
  const images = await openImages(config);
  const byRuntime = new RuntimeBlanks(cli, place, boxes);
  const blanks =
    config.oci?.nursery === false
      ? byRuntime
      : new NurseryBlanks({ place, tree, cli, log: config.log }, boxes, byRuntime);
  const network = makeNetwork(place.tag, config);
  const staleCgroups = new StaleCgroups({ tree, own: place.group });
  staleCgroups.start();
  const { log } = config;
  const runtime = new OciRuntime({ place, boxes, blanks, tree, cli, images, disks, network, staleCgroups, log });
  // Containers of an earlier agent must not be abandoned because of one failure of a program that is known to work.
  if (boxes.ids().length === 0 || !(await hasPassed(place.ociDir, program))) {
    await runTrial({ runtime, place, tree, boxes, program, log });
  }
  return runtime;
}
