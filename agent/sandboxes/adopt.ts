/** At start-up: takes over the sandboxes and warm containers of the last agent. */
import type { Logger } from '../../src/lib/logger.ts';
import type { Jobs } from '../jobs/jobs.ts';
import type { ContainerHomes } from '../pool/container-homes.ts';
import type { Launcher } from '../pool/launcher.ts';
import type { Pools } from '../pool/pools.ts';
import type { ContainerRuntime, Image } from '../runtime/runtime.ts';
import type { SupervisorLink } from '../supervisor/supervisor-link.ts';
import type { RecordStore, StoredSandbox } from './record-store.ts';
import type { Sandboxes } from './sandboxes.ts';

interface AdoptDeps {
  runtime: ContainerRuntime;
  store: RecordStore;
  homes: ContainerHomes;
  launcher: Launcher;
  pools: Pools;
  sandboxes: Sandboxes;
  jobs: Jobs;
  log: Logger;
}

/**
 * Reads the records first and asks the runtime second. A sandbox whose container lives continues; one whose container
 * is gone has ended; one that did not run yet is started again. `waiting` resolves once the warm containers are back in
 * their pools or discarded: refilling before that would start too many.
 */
export async function adoptAll(deps: AdoptDeps, signal: AbortSignal): Promise<{ waiting: Promise<void> }> {
  const stored = deps.store.load();
  const containers = new Map((await deps.runtime.list()).map((container) => [container.id, container]));
  const owned = new Set(stored.map(({ containerId }) => containerId));
  await Promise.all(stored.map((each) => adoptSandbox(each, deps, containers.get(each.containerId ?? '')?.running)));
  // Only space on the disk depends on it.
  await deps.jobs.sweep().catch((error: unknown) => {
    deps.log.error({ err: error }, 'the logs of jobs whose sandboxes are gone cannot be removed');
  });
  const waiting = [...containers.values()].filter(({ id, running }) => running && !owned.has(id));
  const count = stored.filter(({ record }) => record.endedAtMs === null).length;
  if (count + waiting.length > 0) {
    deps.log.info({ event: 'adopted', sandboxes: count, waiting: waiting.length }, 'taken back from the last agent');
  }
  return { waiting: Promise.all(waiting.map(({ id }) => adoptWaiting(id, deps, signal))).then(() => undefined) };
}

/** Never rejects: a sandbox that cannot be taken back ends, and the node goes on with the others. */
async function adoptSandbox(stored: StoredSandbox, deps: AdoptDeps, lives: boolean | undefined): Promise<void> {
  const { sandboxes, log } = deps;
  const { id } = stored.record;
  try {
    await takeBack(stored, deps, lives);
  } catch (error) {
    log.error({ err: error, sandbox: id }, 'a sandbox of the last agent cannot be taken back');
    const sandbox = sandboxes.has(id) ? sandboxes.get(id) : sandboxes.adopt(stored, null);
    sandbox.containerId ??= stored.containerId;
    sandboxes.end(sandbox, 'internal', 'the agent was restarted and could not take the sandbox back');
  }
}

async function takeBack(stored: StoredSandbox, deps: AdoptDeps, lives: boolean | undefined): Promise<void> {
  const { sandboxes, homes, launcher } = deps;
  const { record, containerId } = stored;
  if (record.endedAtMs !== null) {
    sandboxes.adopt(stored, null);
    if (containerId !== null && lives !== undefined) void launcher.discard(containerId);
    return;
  }
  if (record.status !== 'RUNNING') {
    if (containerId !== null) void launcher.discard(containerId);
    const sandbox = sandboxes.adopt({ ...stored, containerId: null }, null);
    return sandboxes.restart(sandbox);
  }
  const home = containerId === null ? undefined : await homes.read(containerId);
  if (containerId === null || home === undefined || lives !== true) {
    const sandbox = sandboxes.adopt(stored, null);
    sandbox.containerId = containerId;
    return sandboxes.end(sandbox, 'internal', 'the container ended while the agent was away');
  }
  const launched = await launcher.relisten(home.meta);
  const sandbox = sandboxes.adopt(stored, launched);
  const image = findImage(stored, deps);
  sandbox.image = image;
  sandbox.env = { ...image.env, ...stored.spec?.env, ...stored.spec?.secrets };
  sandboxes.resume(sandbox);
  if (!sandbox.ended) await deps.jobs.load(sandbox);
}

/** The image's settings as recorded at the claim; if that record is gone, safe defaults. */
function findImage(stored: StoredSandbox, { runtime }: AdoptDeps): Image {
  if (stored.image !== null) return stored.image;
  return (
    runtime.images.get(stored.record.image) ?? { ref: stored.record.image, id: '', env: {}, workdir: '/', user: '' }
  );
}

/** Never rejects: a container that cannot be taken back is discarded. */
async function adoptWaiting(id: string, deps: AdoptDeps, signal: AbortSignal): Promise<void> {
  const { homes, launcher, pools, log } = deps;
  const home = await homes.read(id);
  if (home === undefined || home.claimed) return;
  const { meta } = home;
  let link: SupervisorLink | undefined;
  try {
    const launched = await launcher.relisten(meta);
    link = launched.link;
    await launcher.readopt(launched, signal);
    if (pools.adopt(launched, meta.image ?? undefined)) return;
  } catch (error) {
    log.warn({ err: error, container: id }, 'a waiting container cannot be taken back');
  }
  void launcher.discard(id, link);
}
