/**
 * Makes, claims and destroys one blank before the node accepts sandboxes: installed programs may still lack the rights
 * to make a container here, and not every file system can hold an overlay's upper dir.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from '../../../src/lib/logger.ts';
import { SupervisorLink } from '../../supervisor/supervisor-link.ts';
import type { Limits } from '../runtime.ts';
import type { Boxes } from './boxes.ts';
import { writeLimits } from './cgroup-limits.ts';
import type { CgroupTree } from './cgroup-tree.ts';
import type { OciRuntime } from './oci-runtime.ts';
import { notePassed, notPassed, type Program } from './trial-record.ts';
import type { Place } from './place.ts';

const ARRIVAL_MS = 30_000;
const CLAIM_MS = 30_000;
const LIMITS: Limits = { cpus: 1, memoryMb: 64, diskMb: null, pidsLimit: 64 };

interface TrialDeps {
  runtime: OciRuntime;
  place: Place;
  tree: CgroupTree;
  boxes: Boxes;
  program: Program;
  log: Logger;
}

/** @throws ServiceError `not_supported` with the reason; the runtime is then closed, and nothing is left behind. */
export async function runTrial(deps: TrialDeps): Promise<void> {
  const { runtime, place } = deps;
  const id = `mbx-trial-${randomBytes(6).toString('hex')}`;
  const socketDir = join(place.ociDir, 'trial');
  try {
    try {
      await rm(socketDir, { recursive: true, force: true });
      await mkdir(socketDir, { mode: 0o700 });
      await makeAndClaim(id, socketDir, deps);
    } finally {
      await runtime.destroy(id);
      await rm(socketDir, { recursive: true, force: true });
    }
    await notePassed(place.ociDir, deps.program);
  } catch (error) {
    await runtime.close().catch(() => undefined);
    throw notPassed(deps.program, error);
  }
}

async function makeAndClaim(id: string, socketDir: string, deps: TrialDeps): Promise<void> {
  const { runtime, place, tree, boxes, log } = deps;
  const token = randomBytes(32).toString('base64url');
  const link = await SupervisorLink.listen({ id, socketPath: join(socketDir, 'agent.sock'), token, log });
  const unsubscribe = runtime.onExit((ended) => {
    if (ended === id) link.close();
  });
  try {
    await runtime.launch({ id, limits: LIMITS, network: 'off', socketDir, token });
    await link.arrival({ deadlineMs: ARRIVAL_MS });
    const box = boxes.get(id);
    if (box !== undefined) writeLimits(tree, box.cgroup, LIMITS);
    const dir = place.inside(boxes.dirOf(id));
    const layers = [place.inside(place.rootDir)];
    const request = { op: 'claim', layers, upper: join(dir, 'upper'), work: join(dir, 'work'), hostname: 'trial' };
    await link.call(request, { deadlineMs: CLAIM_MS });
  } finally {
    unsubscribe();
    link.close();
  }
}
