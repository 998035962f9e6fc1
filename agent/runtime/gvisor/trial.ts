/**
 * Makes and destroys one container with nothing but boxinit before the node accepts sandboxes: an installed runsc may
 * still lack the rights to make one here.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Logger } from '../../../src/lib/logger.ts';
import { SupervisorLink } from '../../supervisor/supervisor-link.ts';
import { removeAgentGroups } from '../oci/box-groups.ts';
import { makeGroup, type CgroupTree } from '../oci/cgroup-tree.ts';
import { endGroup, endProcesses } from '../oci/ending.ts';
import { notePassed, notPassed, type Program } from '../oci/trial-record.ts';
import { ExitPoller } from '../oci/exit-poller.ts';
import { identify } from '../oci/pids.ts';
import type { RuntimeCli } from '../oci/runtime-cli.ts';
import { mountRoot, unmountBelow } from './root-mount.ts';
import { containerSpec } from './spec.ts';
import { prepareUpper } from './upper.ts';

const ARRIVAL_MS = 30_000;

interface TrialDeps {
  /** The runtime's state directory. */
  dir: string;
  program: Program;
  cli: RuntimeCli;
  tree: CgroupTree;
  /** The cgroup of this agent's containers. */
  group: string;
  boxinitPath: string;
  log: Logger;
}

/** @throws ServiceError `not_supported` with the reason; nothing is left behind. */
export async function runTrial(deps: TrialDeps): Promise<void> {
  const { dir, program, cli, tree, group } = deps;
  const id = `mbx-trial-${randomBytes(6).toString('hex')}`;
  const home = join(dir, 'trial');
  const clear = async (): Promise<void> => {
    await unmountBelow(home);
    await rm(home, { recursive: true, force: true });
  };
  try {
    // A killed agent may have left one.
    await clear();
    try {
      await makeOne(id, home, deps);
    } finally {
      await endProcesses(tree, `${group}/${id}`, undefined);
      await cli.forget(id);
      await endGroup(tree, `${group}/${id}`);
      await clear();
    }
    await notePassed(dir, program);
  } catch (error) {
    removeAgentGroups(tree, dirname(group));
    throw notPassed(program, error);
  }
}

async function makeOne(id: string, home: string, deps: TrialDeps): Promise<void> {
  const { cli, tree, group, boxinitPath, log } = deps;
  const [root, image, upper, work, socketDir] = ['root', 'image', 'upper', 'work', 'run'].map((name) =>
    join(home, name),
  ) as [string, string, string, string, string];
  for (const each of [root, image, upper, work, socketDir]) await mkdir(each, { recursive: true, mode: 0o700 });
  await prepareUpper(upper, image, { workdir: '/', files: [], log });
  await mountRoot(root, [image], upper, work);
  makeGroup(tree, `${group}/${id}`);
  const token = randomBytes(32).toString('base64url');
  const cgroupPath = `/${group}/${id}`;
  const spec = containerSpec({ root, hostname: 'trial', boxinitPath, socketDir, cgroupPath, token });
  await writeFile(join(home, 'config.json'), JSON.stringify(spec), { mode: 0o600 });
  const link = await SupervisorLink.listen({ id, socketPath: join(socketDir, 'agent.sock'), token, log });
  const exits = new ExitPoller(() => link.close());
  try {
    await cli.run(id, home, join(home, 'pid'), { logPath: join(home, 'log') });
    const process = identify(Number(await readFile(join(home, 'pid'), 'utf8')));
    if (process !== undefined) exits.watch(id, process);
    await link.arrival({ deadlineMs: ARRIVAL_MS });
  } finally {
    exits.close();
    link.close();
  }
}
