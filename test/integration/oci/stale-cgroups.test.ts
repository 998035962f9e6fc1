/** Cgroups left by killed agents whose data directories are gone. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { directoriesOf, findCgroups, makeGroup } from '../../../agent/runtime/oci/cgroup-tree.ts';
import { endGroup, endProcesses } from '../../../agent/runtime/oci/ending.ts';
import { StaleCgroups } from '../../../agent/runtime/oci/stale-cgroups.ts';
import { agentGroup } from '../../../agent/runtime/oci/place.ts';
import { until } from '../../helpers/until.ts';

const LIMIT_MS = 60_000;
const tree = findCgroups();
/** Short for a test. That nothing happens at the first look holds at any speed. */
const patienceMs = 300;

let agents: string[];
beforeEach(() => {
  agents = Array.from({ length: 3 }, () => agentGroup(`/no-such-directory/${randomBytes(6).toString('hex')}`));
});
afterEach(async () => {
  for (const agent of agents) {
    await endProcesses(tree, agent, undefined);
    await endGroup(tree, agent);
  }
});

const isThere = (group: string): boolean => directoriesOf(tree, group).length > 0;

test('groups that stay empty are removed; those with a process or just created stay', async () => {
  const [forgotten = '', alive = '', own = ''] = agents;
  for (const agent of agents) makeGroup(tree, `${agent}/nursery-1/mbx-a`);
  const process = spawn('sleep', ['60'], { stdio: 'ignore' });
  await until(() => process.pid !== undefined, LIMIT_MS, 'a process');
  writeFileSync(join(tree.controllers.pids, alive, 'nursery-1/mbx-a/cgroup.procs'), String(process.pid));

  const past = new StaleCgroups({ tree, own, patienceMs });
  past.start();
  expect(agents.map(isThere)).toEqual([true, true, true]);
  makeGroup(tree, `${forgotten}/nursery-2/mbx-new`);
  await until(() => !isThere(`${forgotten}/nursery-1`), LIMIT_MS, 'the first to go');
  expect(isThere(`${forgotten}/nursery-2/mbx-new`)).toBe(true);
  expect(isThere(`${alive}/nursery-1/mbx-a`)).toBe(true);
  expect(isThere(own)).toBe(true);
  past.close();
  process.kill('SIGKILL');
});

test('an agent that exits earlier has not looked long enough to remove anything', () => {
  const [forgotten = '', , own = ''] = agents;
  makeGroup(tree, `${forgotten}/boxes`);
  const past = new StaleCgroups({ tree, own, patienceMs: LIMIT_MS });
  past.start();
  past.close();
  expect(isThere(`${forgotten}/boxes`)).toBe(true);
});
