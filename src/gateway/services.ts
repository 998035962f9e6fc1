/** Builds the services that all doors share, and connects them. */
import type { Logger } from '../lib/logger.ts';
import { background } from '../lib/background.ts';
import { HeldBytes } from '../lib/held-bytes.ts';
import { createAuth, type Auth } from './auth/auth.ts';
import type { GatewayConfig, NodeAddress } from './config.ts';
import { DEFAULT_DISCOVERY_CONFIG } from './discovery/config.ts';
import { createDiscovery } from './discovery/create.ts';
import { RegistrySync } from './discovery/registry-sync.ts';
import { ExecService } from './execs/service.ts';
import { Bursts } from './http/bursts.ts';
import { FileService } from './files/service.ts';
import { MemoryIdempotencyStore } from './idempotency/memory-store.ts';
import { ImageService } from './images/service.ts';
import { createLifecycle, type Lifecycle } from './lifecycle.ts';
import { Metrics } from './metrics/metrics.ts';
import type { Dial } from './nodes/link.ts';
import { NodeRegistry } from './nodes/registry.ts';
import { NodeService } from './nodes/service.ts';
import { watchStarts } from './nodes/starts.ts';
import { PortService } from './ports/service.ts';
import type { PlacementQueue } from './queue/queue.ts';
import { inMemory, type SharedState } from './redis/shared-state.ts';
import { DuplicateResolver } from './sandboxes/duplicate-resolver.ts';
import { Placer } from './sandboxes/placer.ts';
import { Reaper } from './sandboxes/reaper.ts';
import { SandboxService } from './sandboxes/service.ts';
import { Store } from './sandboxes/store.ts';
import { UnknownIds } from './sandboxes/unknown-ids.ts';
import { NO_TENANTS } from './tenants/file.ts';
import { startTenancy, type Tenancy } from './tenants/tenancy.ts';

/** The services that a door calls. A door only translates its protocol. */
export interface Services {
  readonly sandboxes: SandboxService;
  readonly execs: ExecService;
  readonly files: FileService;
  readonly ports: PortService;
  readonly auth: Auth;
  readonly tenancy: Tenancy;
  readonly nodes: NodeService;
  readonly images: ImageService;
  readonly lifecycle: Lifecycle;
  readonly metrics: Metrics;
  readonly unknownIds: UnknownIds;
  /** The turns of calls that come in bursts. */
  readonly bursts: Bursts;
  /** Requests of calls that are streams. */
  readonly heldRequests: HeldBytes;
  readonly log: Logger;
}

export interface RunningServices extends Services {
  readonly registry: NodeRegistry;
  readonly shared: SharedState;
  /** Replaces the tenants and their limits, effective from the next call. */
  replaceTenants(config: Pick<GatewayConfig, 'keys' | 'tenants'>): void;
  stop(): Promise<void>;
}

/** Creates wait at most this long for nodes that have not reported yet. */
const LEARNING_MS = 5_000;
/** Eight clients' worth: each sends 8 MiB before it waits for answers. */
const MAX_HELD_BYTES = 64 * 1024 * 1024;

export interface ServicesDeps {
  dial: (address: NodeAddress) => Dial;
  log: Logger;
  /** Stopped with the services. Absent: this is the only gateway. */
  shared?: SharedState;
}

/** All state is in memory, except what several gateways must share: see `SharedState`. */
export function startServices(
  config: GatewayConfig,
  { dial, log, shared = inMemory(config, log) }: ServicesDeps,
): RunningServices {
  const lifecycle = createLifecycle();
  const { nodeGraceMs: graceMs, heartbeat } = config;
  const registry = new NodeRegistry({ addresses: [], dial, graceMs, heartbeat, log });
  const { discovery = DEFAULT_DISCOVERY_CONFIG } = config;
  const registrySync = new RegistrySync({
    discovery: createDiscovery(discovery, config.nodes, log),
    registry,
    leaveMs: discovery.leaveMs,
    emptyMs: discovery.emptyMs,
    log,
  });
  const { queue, owners, now } = shared;
  const store = new Store(log, now);
  const metrics = new Metrics({ registry, queue, store, shared });
  const placer = new Placer({
    nodes: () => registry.all,
    store,
    now,
    log,
    observe: (outcome) => metrics.placed(outcome),
  });
  const reaper = new Reaper(log);
  const unknownIds = new UnknownIds(store, owners === null ? 0 : undefined);
  const duplicates = owners === null ? null : new DuplicateResolver({ store, reaper, owners, log });
  const tenancy = startTenancy({
    file: config.tenants,
    counters: shared.counters,
    store,
    learning: () => registry.learningWithin(LEARNING_MS),
    connectedNodes: () => registry.all.filter((node) => node.up).length,
    informed: () => queue.informed,
    queueWaitMs: config.queueWaitMs,
    metrics: metrics.registry,
    log,
  });
  const { admission } = tenancy;
  const sandboxes = new SandboxService({
    store,
    queue,
    reaper,
    unknownIds,
    registry,
    idempotency: shared.idempotency,
    admission,
    lifecycle,
    config,
    now,
    log,
    observe: {
      created(tenant, count) {
        metrics.created(count);
        tenancy.metrics.created(tenant, count);
      },
    },
  });
  const execs = new ExecService({
    sandboxes,
    // The id of a command derives from its key and a sandbox runs an id once, so gateways need not share these keys.
    idempotency: new MemoryIdempotencyStore(),
    admission,
    lifecycle,
    config,
    observe: metrics,
  });
  const files = new FileService({ sandboxes, lifecycle });
  const ports = new PortService({ sandboxes, lifecycle, secret: config.nodeSecret, domain: config.previewDomain, now });

  const auth = createAuth(config.keys);

  store.onStray((node, id, ...why) => background(reaper.reap(node, id, ...why), 'reap a stray', log));
  if (duplicates !== null) store.onDuplicate((entry, node) => duplicates.resolve(entry, node));
  store.onChange(watchStarts(log));
  store.onChange((entry) => metrics.sandboxChanged(entry));
  startQueue({ queue, placer, store, registry, log });
  registry.start({
    snapshot: (node, records) => store.snapshot(node, records),
    record: (node, record) => store.take(node, record),
    forgotten: (node, ids) => store.forgotten(node, ids),
    lost: (node) => {
      for (const entry of [...store.on(node)]) if (entry.accepted) store.end(entry, 'node_lost', 'the node was lost');
    },
    room: () => queue.wake(),
  });
  registrySync.start();

  return {
    sandboxes,
    execs,
    files,
    ports,
    auth,
    tenancy,
    nodes: new NodeService(registry),
    images: new ImageService(registry),
    lifecycle,
    metrics,
    unknownIds,
    bursts: new Bursts(),
    heldRequests: new HeldBytes(MAX_HELD_BYTES, 'requests wait for their answer, or for their end by the client'),
    log,
    registry,
    shared,
    replaceTenants({ keys, tenants = NO_TENANTS }) {
      tenancy.tenants.replace(tenants);
      auth.replace(keys);
    },
    async stop() {
      await queue.stop();
      duplicates?.stop();
      unknownIds.stop();
      reaper.stop();
      await registrySync.stop();
      await registry.stop();
      await tenancy.stop();
      await shared.stop();
      store.stop();
      metrics.stop();
    },
  };
}

/** Connects the queue to the placer, which serves it, and to the store, which learns the outcome. */
function startQueue({
  queue,
  placer,
  store,
  registry,
  log,
}: {
  queue: PlacementQueue;
  placer: Placer;
  store: Store;
  registry: NodeRegistry;
  log: Logger;
}): void {
  store.onChange((entry) => {
    if (entry.ended) queue.remove(entry.id);
    else if (entry.accepted) queue.placed(entry.id);
    if (entry.accepted || entry.ended) placer.forget(entry.id);
    if (!entry.ended) return;
    if (!entry.accepted) background(Promise.resolve(queue.recordEnd(entry.record)), 'tell of an end', log);
    if (entry.node !== null) queue.wake();
  });
  queue.start((ticket, leave) => placer.offer(ticket, leave), {
    fits: (needs) => placer.fits(needs),
    isOpen(id) {
      const entry = store.get(id);
      return entry === undefined || (!entry.accepted && !entry.ended);
    },
    isPlaced(id) {
      const entry = store.get(id);
      return entry !== undefined && entry.accepted && entry.record.reason !== 'node_lost';
    },
    allConnected: () => registry.all.every((node) => node.up),
    reported: (record) => store.hear(record),
    withdrawn: (record) => store.withdrawn(record),
  });
}
