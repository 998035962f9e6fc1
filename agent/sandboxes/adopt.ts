/** At start-up: adopts the sandboxes and warm containers of the previous agent. */
import type { Logger } from '../../src/lib/logger.ts';
import type { Jobs } from '../jobs/jobs.ts';
import type { ContainerHomes } from '../pool/container-homes.ts';
import type { Launched, Launcher } from '../pool/launcher.ts';
import type { Pools } from '../pool/pools.ts';
import type { ContainerRuntime, Image } from '../runtime/runtime.ts';
import type { SupervisorLink } from '../supervisor/supervisor-link.ts';
import { retryTransient, isTransient } from './transient-errors.ts';
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
 * Reads the records first and asks the runtime second. A sandbox with a live container continues; one whose container
 * is gone has ended; one that was not running yet is started again. One with anything unreadable may be alive, so it is
 * left alone until the next start, with its record, container and jobs. `waiting` resolves once the warm containers are
 * back in their pools or discarded: refilling before that would start too many.
 */
export async function adoptAll(deps: AdoptDeps, signal: AbortSignal): Promise<{ waiting: Promise<void> }> {
  const { store } = deps;
  const stored = await readRecords(deps, signal);
  const containers = new Map((await deps.runtime.list()).map((container) => [container.id, container]));
  const owned = new Set(stored.map(({ containerId }) => containerId));
  const lives = ({ containerId }: StoredSandbox): boolean | undefined => containers.get(containerId ?? '')?.running;
  await Promise.all(stored.map((each) => adoptSandbox(each, deps, lives(each), signal)));
  // Only disk space depends on it.
  await deps.jobs.sweep(store.left).catch((error: unknown) => {
    deps.log.error({ err: error }, 'job logs of ended sandboxes cannot be removed');
  });
  const waiting = [...containers.values()].filter(({ id, running }) => running && !owned.has(id));
  const count = stored.filter(({ record }) => record.endedAtMs === null && !store.left.has(record.id)).length;
  if (count + waiting.length > 0) {
    deps.log.info({ event: 'adopted', sandboxes: count, waiting: waiting.length }, 'sandboxes and containers adopted');
  }
  return { waiting: Promise.all(waiting.map(({ id }) => adoptWaiting(id, deps, signal))).then(() => undefined) };
}

async function readRecords(deps: AdoptDeps, signal: AbortSignal): Promise<StoredSandbox[]> {
  const { store } = deps;
  let stored: StoredSandbox[] = [];
  const read = (): void => {
    stored = store.load();
    for (const error of store.left.values()) throw error;
  };
  await retryTransient(read, signal).catch((error: unknown) => {
    // The directory itself: then nothing is known.
    if (store.left.size === 0) throw error;
  });
  for (const [id, error] of store.left) leave(id, error, deps);
  return stored;
}

/** Also keeps everything that may belong to it. */
function leave(id: string, error: unknown, { store, homes, log }: AdoptDeps): void {
  store.leave(id, error);
  homes.keepAll();
  log.error({ err: error, sandbox: id }, 'a sandbox record cannot be read: left for the next start');
}

/** Never rejects: a sandbox that cannot be adopted ends, and the node continues with the others. */
async function adoptSandbox(
  stored: StoredSandbox,
  deps: AdoptDeps,
  lives: boolean | undefined,
  signal: AbortSignal,
): Promise<void> {
  const { sandboxes, log } = deps;
  const { id } = stored.record;
  try {
    await takeBack(stored, deps, lives, signal);
  } catch (error) {
    log.error({ err: error, sandbox: id }, 'a sandbox could not be adopted');
    const sandbox = sandboxes.has(id) ? sandboxes.get(id) : sandboxes.adopt(stored, null);
    sandboxes.end(sandbox, 'internal', 'the agent was restarted and could not adopt the sandbox');
  }
}

async function takeBack(
  stored: StoredSandbox,
  deps: AdoptDeps,
  lives: boolean | undefined,
  signal: AbortSignal,
): Promise<void> {
  const { sandboxes, launcher } = deps;
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
  let launched: Launched | undefined;
  try {
    if (containerId !== null && lives === true)
      launched = await retryTransient(() => relisten(containerId, deps), signal);
  } catch (error) {
    if (isTransient(error)) return leave(record.id, error, deps);
    throw error;
  }
  if (launched === undefined) {
    const sandbox = sandboxes.adopt(stored, null);
    return sandboxes.end(sandbox, 'internal', 'the container ended while the agent was away');
  }
  const sandbox = sandboxes.adopt(stored, launched);
  const image = findImage(stored, deps);
  sandbox.image = image;
  sandbox.env = { ...image.env, ...stored.spec?.env, ...stored.spec?.secrets };
  sandboxes.resume(sandbox);
  if (!sandbox.ended) await deps.jobs.load(sandbox);
}

/** Undefined if nothing is known about the container. */
async function relisten(containerId: string, { homes, launcher }: AdoptDeps): Promise<Launched | undefined> {
  const home = await homes.read(containerId);
  return home === undefined ? undefined : await launcher.relisten(home.meta);
}

/** The image's settings as recorded at the claim; safe defaults if that record is gone. */
function findImage(stored: StoredSandbox, { runtime }: AdoptDeps): Image {
  if (stored.image !== null) return stored.image;
  return (
    runtime.images.get(stored.record.image) ?? { ref: stored.record.image, id: '', env: {}, workdir: '/', user: '' }
  );
}

/** Never rejects: a container that cannot be adopted is discarded, unless it may be claimed. */
async function adoptWaiting(id: string, deps: AdoptDeps, signal: AbortSignal): Promise<void> {
  const { homes, launcher, pools, log } = deps;
  const home = await retryTransient(() => homes.read(id), signal).catch((error: unknown) => {
    log.warn({ err: error, container: id }, 'the record of an unclaimed container cannot be read');
    return undefined;
  });
  if (home === undefined || home.claimed) return;
  const { meta } = home;
  let link: SupervisorLink | undefined;
  try {
    const launched = await launcher.relisten(meta);
    link = launched.link;
    await launcher.readopt(launched, signal);
    if (pools.adopt(launched, meta.image ?? undefined)) return;
  } catch (error) {
    log.warn({ err: error, container: id }, 'a warm container could not be adopted');
  }
  void launcher.discard(id, link);
}
