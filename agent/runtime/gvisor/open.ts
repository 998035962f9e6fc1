/** gVisor on the machine at hand. */
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageStore } from '../../images/image-store.ts';
import { Boxes } from '../oci/boxes.ts';
import { findCgroups } from '../oci/cgroup-tree.ts';
import { agentGroup } from '../oci/place.ts';
import { findProgram, mustRun } from '../oci/programs.ts';
import { RuntimeCli } from '../oci/runtime-cli.ts';
import type { RuntimeConfig } from '../select.ts';
import { GvisorRuntime } from './gvisor-runtime.ts';
import { unmountBelow } from './root-mount.ts';

/** Works on any processor, without rights that a virtual machine may lack. */
const PLATFORM = 'ptrace';
const FLAGS = [
  `--platform=${PLATFORM}`,
  '--network=none',
  // Only what exists may be connected to: the agent's socket, which is all that is lent.
  '--host-uds=open',
  '--overlay2=none',
];

/** @throws ServiceError `not_supported` that says what this machine lacks. */
export async function openGvisorRuntime(config: RuntimeConfig): Promise<GvisorRuntime> {
  const program = await findProgram(config.oci?.program ?? 'runsc');
  for (const tool of ['skopeo', 'umoci', 'bwrap']) await findProgram(tool);
  await mustRun(program);
  const tree = findCgroups();
  const dir = join(config.dataDir, 'gvisor');
  await mkdir(dir, { recursive: true, mode: 0o711 });
  const boxes = await Boxes.open(dir);
  const images = await ImageStore.open({
    dir: config.oci?.imagesDir ?? join(config.dataDir, 'images'),
    registry: config.oci?.registry ?? { mirrors: {}, insecure: [] },
    archives: config.oci?.archives ?? {},
    budgetBytes: config.oci?.imagesBudgetMb === undefined ? undefined : config.oci.imagesBudgetMb * 1024 * 1024,
    log: config.log,
  });
  // Of containers whose box is gone.
  for (const name of await readdir(join(dir, 'grave'))) await unmountBelow(join(dir, 'grave', name));
  const cli = new RuntimeCli(program, join(dir, 'state'), FLAGS);
  return new GvisorRuntime({
    boxes,
    tree,
    cli,
    images,
    group: `${agentGroup(config.dataDir)}/gvisor`,
    boxinitPath: config.boxinitPath,
    log: config.log,
  });
}
