/** The node-native runtime on the machine at hand. */
import { execFile } from 'node:child_process';
import { access, constants, mkdir } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { ServiceError } from '../../../src/protocol/errors.ts';
import { ImageStore } from '../../images/image-store.ts';
import type { RuntimeConfig } from '../select.ts';
import { NurseryBlanks, RuntimeBlanks } from './blanks.ts';
import { Boxes } from './boxes.ts';
import { findCgroups } from './cgroup-tree.ts';
import { Disks } from './disk.ts';
import { Network } from './network/network.ts';
import { OciRuntime } from './oci-runtime.ts';
import { makePlace, ociDirOf } from './place.ts';
import { RuntimeCli } from './runtime-cli.ts';
import { seccompFor } from './seccomp.ts';
import { sweep } from './sweep.ts';
import { CAPABILITIES, CLAIM_CALLS } from './spec.ts';

const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const VERSION_MS = 10_000;
const run = promisify(execFile);

/** @throws ServiceError `not_supported` that says what this machine lacks. */
export async function openOciRuntime(config: RuntimeConfig): Promise<OciRuntime> {
  const program = await findProgram(config.oci?.program ?? 'runc');
  for (const tool of ['skopeo', 'umoci', 'bwrap']) await findProgram(tool);
  await version(program);
  const tree = findCgroups();
  const seccomp = seccompFor(CAPABILITIES, CLAIM_CALLS);
  await mkdir(config.dataDir, { recursive: true, mode: 0o711 });
  const imagesDir = config.oci?.imagesDir ?? join(config.dataDir, 'images');
  const disks = await Disks.open(ociDirOf(config.dataDir));
  const place = makePlace({
    dataDir: config.dataDir,
    imagesDir,
    disksDir: disks.dir,
    boxinitPath: config.boxinitPath,
    seccomp,
  });
  const boxes = await Boxes.open(place.ociDir);
  const cli = new RuntimeCli(program, join(place.ociDir, 'state'));
  await sweep({ place, boxes, tree, cli });
  const images = await ImageStore.open({
    dir: imagesDir,
    registry: config.oci?.registry ?? { mirrors: {}, insecure: [] },
    archives: config.oci?.archives ?? {},
    budgetBytes: config.oci?.imagesBudgetMb === undefined ? undefined : config.oci.imagesBudgetMb * 1024 * 1024,
    log: config.log,
  });
  const byRuntime = new RuntimeBlanks(cli, place, boxes);
  const blanks =
    config.oci?.nursery === false
      ? byRuntime
      : new NurseryBlanks({ place, tree, cli, log: config.log }, boxes, byRuntime);
  const network = new Network({
    tag: place.tag,
    resolvers: config.oci?.resolvers,
    subnet: config.oci?.subnet,
    log: config.log,
  });
  return new OciRuntime({ place, boxes, blanks, tree, cli, images, disks, network, log: config.log });
}

/** The path of a program that is installed. */
async function findProgram(name: string): Promise<string> {
  const places = name.includes('/') ? [name] : PATH.split(delimiter).map((dir) => join(dir, name));
  for (const path of places) {
    const there = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (there) return path;
  }
  throw new ServiceError('not_supported', `there is no ${name} on this machine`);
}

async function version(program: string): Promise<string> {
  try {
    return (await run(program, ['--version'], { timeout: VERSION_MS })).stdout.split('\n')[0] ?? '';
  } catch (error) {
    throw new ServiceError('not_supported', `${program} does not run`, { cause: error });
  }
}
