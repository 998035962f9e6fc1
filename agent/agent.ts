/** The agent's composition root: creates its parts, wires them together, and stops them in order. */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { background } from '../src/lib/background.ts';
import { PerTurn } from '../src/lib/per-turn.ts';
import type { Logger } from '../src/lib/logger.ts';
import { packageVersion } from '../src/lib/own-package.ts';
import type { ServiceError } from '../src/protocol/errors.ts';
import { NODE_SOCKET } from '../src/protocol/node.ts';
import { isEnded } from '../src/protocol/sandbox.ts';
import type { AgentConfig } from './config.ts';
import { Jobs } from './jobs/jobs.ts';
import { ImageList } from './link/image-list.ts';
import { clearIncoming } from './link/image-ops.ts';
import { LinkRoom } from './link/link-room.ts';
import { BEGUN_PER_TURN, openOp } from './link/ops.ts';
import { serveMetrics } from './link/metrics-server.ts';
import { serveNode, type NodeServer } from './link/server.ts';
import { AgentMetrics } from './metrics.ts';
import { ContainerHomes } from './pool/container-homes.ts';
import { Launcher } from './pool/launcher.ts';
import { Pools } from './pool/pools.ts';
import { prewarm } from './pool/prewarm.ts';
import { nodeReport, ReportListeners } from './report.ts';
import type { ContainerRuntime } from './runtime/runtime.ts';
import { adoptAll } from './sandboxes/adopt.ts';
import { Capacity } from './sandboxes/capacity.ts';
import { Intake } from './sandboxes/intake.ts';
import { Orphans } from './sandboxes/orphans.ts';
import { provision } from './sandboxes/provision.ts';
import { RecordStore } from './sandboxes/record-store.ts';
import type { Sandbox } from './sandboxes/sandbox.ts';
import { Sandboxes } from './sandboxes/sandboxes.ts';
import { runStartCommand } from './sandboxes/start-command.ts';
import { spreadSubdirectories } from './spread-directories.ts';

const SETTLE_MS = 30_000;
const DRAINED = 'the node was drained, and the drain deadline has passed';

export interface Agent {
  readonly port: number;
  readonly sandboxes: Sandboxes;
  readonly pools: Pools;
  readonly orphans: Orphans;
  /** Leaves everything as it is for the next agent; `destroy` ends all sandboxes and empties the pools. */
  stop(options?: { destroy?: boolean }): Promise<void>;
}

/** @throws what the runtime or the port throws. */
export async function startAgent(config: AgentConfig, runtime: ContainerRuntime, log: Logger): Promise<Agent> {
  await clearIncoming(config.dataDir);
  const stopping = new AbortController();
  const reportListeners = new ReportListeners();
  const reportChanged = (): void => reportListeners.tell({ soon: false });
  const homes = new ContainerHomes(config.dataDir);
  const launcher = new Launcher(runtime, homes, log);
  const store = new RecordStore(config.dataDir, (id) => homes.spareFile(id), log);
  const capacity = new Capacity({ ...config, maxDiskMb: runtime.maxDiskMb }, () =>
    reportListeners.tell({ soon: true }),
  );
  const pools = new Pools({
    runtime,
    launcher,
    limits: config.pool.limits,
    min: config.pool.min,
    max: config.pool.max,
    defaultImage: config.defaultImage,
    launchConcurrency: config.launchConcurrency,
    occupied: () => capacity.sandboxes > 0,
    log,
    onChange: reportChanged,
  });
  let server: NodeServer | undefined;
  const metrics = new AgentMetrics({
    sandboxes: () => capacity.sandboxes,
    pools: () => pools.totals(),
    links: () => server?.links ?? 0,
    linkBytes: () => server?.bytes() ?? { in: 0, out: 0 },
  });
  const execHooks = {
    oomKills: (id: string) => runtime.oomKills(id),
    attributed: (sandbox: Sandbox) => sandboxes.note(sandbox),
    over: (error: ServiceError | null) => metrics.execOver(error?.code),
  };
  const jobs = new Jobs({ dataDir: config.dataDir, limits: config.jobLogs, hooks: execHooks, log });
  const sandboxes: Sandboxes = new Sandboxes({
    store,
    capacity,
    launcher,
    log,
    provision: async (sandbox) =>
      await provision(sandbox, { runtime, pools, sandboxes, onClaim: (hit) => metrics.claim(hit) }),
    started: (sandbox) => {
      const { placedMs = 0, runningMs = 0 } = sandbox.record.timings;
      metrics.started(Math.max(0, runningMs - placedMs));
      runStartCommand(sandbox, jobs, log);
    },
  });
  sandboxes.onChange(reportChanged);
  sandboxes.onChange((change) => {
    if (change.type === 'changed' && isEnded(change.record.status)) jobs.end(change.record.id);
  });
  const stopExits = runtime.onExit((id, exit) => {
    launcher.exited(id);
    pools.exited(id);
    sandboxes.exited(id, exit);
  });
  const orphans = new Orphans({
    runtime,
    homes,
    launcher,
    log,
    isOwned: (id) => pools.owns(id) || sandboxes.ownerOf(id)?.ended === false,
    stopped: (id) => {
      pools.exited(id);
      sandboxes.exited(id, { oomKilled: null });
    },
  });
  const intake = new Intake({
    dataDir: config.dataDir,
    log,
    changed: () => {
      sandboxes.drain(!intake.open);
      pools.pause(intake.state.draining);
      reportChanged();
    },
    overdue: () => background(sandboxes.endAll('node_drained', DRAINED), 'ending what a drain has left', log),
  });
  const images = new ImageList(runtime.images, () => reportListeners.tell({ soon: true }), log);
  const turns = new PerTurn(BEGUN_PER_TURN);
  const linkRoom = new LinkRoom();
  await spreadSubdirectories([homes.root, jobs.directory], log);
  const adopted = await adoptAll({ runtime, store, homes, launcher, pools, sandboxes, jobs, log }, stopping.signal);
  intake.begin();
  server = await serveNode({
    listen: config.listen,
    socketFile: join(config.dataDir, NODE_SOCKET),
    secret: config.nodeSecret.reveal(),
    node: config.nodeName,
    version: packageVersion(),
    bootId: randomUUID(),
    log,
    heartbeat: config.heartbeat,
    onStream: (stream) =>
      openOp(stream, {
        sandboxes,
        turns,
        linkRoom,
        jobs,
        runtime,
        log,
        dataDir: config.dataDir,
        imagesChanged: () =>
          images.look().catch((err: unknown) => log.warn({ err }, 'the list of images could not be read')),
        feed: {
          report: () => nodeReport({ config, runtime, capacity, intake, pools, images }),
          list: () => sandboxes.list(),
          onChange: (listener) => sandboxes.onChange(listener),
          onReport: (listener) => reportListeners.add(listener),
        },
        intake,
        execHooks,
      }),
    metrics: () => metrics.text(),
  });
  const numbers =
    config.metricsListen === null ? null : await serveMetrics(config.metricsListen, () => metrics.text(), log);
  const filled = adopted.waiting.then(() =>
    prewarm({ image: config.defaultImage, runtime, pools, log }, stopping.signal),
  );
  background(filled, 'filling the pool', log);
  return {
    port: server.port,
    sandboxes,
    pools,
    orphans,
    stop: async ({ destroy = false } = {}) => {
      stopping.abort();
      orphans.close();
      intake.close();
      sandboxes.drain(true);
      await server.settled(config.stopMs);
      await server.close();
      await numbers?.close();
      stopExits();
      if (destroy) await sandboxes.endAll('deleted', null);
      await jobs.close();
      sandboxes.close();
      await pools.close({ destroy });
      if (destroy) await discardAll({ runtime, launcher, log });
      // Let starts and removals in progress finish: anything they left behind would be orphaned until the next agent.
      await launcher.settled(AbortSignal.timeout(SETTLE_MS));
      images.close();
      await runtime.close();
    },
  };
}

/** Also destroys orphans, except those whose records are unreadable: they are left to the next agent. Never rejects. */
async function discardAll({ runtime, launcher, log }: { runtime: ContainerRuntime; launcher: Launcher; log: Logger }) {
  try {
    for (const { id } of await runtime.list()) void launcher.discard(id);
  } catch (error) {
    log.error({ err: error }, 'containers cannot be listed: some may be left');
  }
}
