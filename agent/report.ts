/** The node's report to gateways, and the listeners for its changes. */
import { availableParallelism } from 'node:os';
import { packageVersion } from '../src/lib/own-package.ts';
import type { NodeReport } from '../src/protocol/node.ts';
import type { AgentConfig } from './config.ts';
import type { ImageList } from './link/image-list.ts';
import type { Pools } from './pool/pools.ts';
import type { Capacity } from './sandboxes/capacity.ts';
import type { Intake } from './sandboxes/intake.ts';

/** `soon`: a caller may be waiting for this change. */
type ReportListener = (soon: boolean) => void;

export class ReportListeners {
  readonly #listeners = new Set<ReportListener>();

  /** @returns a function that removes the listener. */
  add(listener: ReportListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  tell({ soon }: { soon: boolean }): void {
    for (const listener of this.#listeners) listener(soon);
  }
}

interface ReportSources {
  config: AgentConfig;
  runtime: { name: string; maxDiskMb?: number };
  capacity: Capacity;
  intake: Intake;
  pools: Pools;
  images: ImageList;
}

export function nodeReport({ config, runtime, capacity, intake, pools, images }: ReportSources): NodeReport {
  return {
    name: config.nodeName,
    version: packageVersion(),
    runtime: runtime.name,
    cpus: availableParallelism(),
    memoryMb: capacity.totalMb,
    memoryFreeMb: capacity.freeMb,
    ...(runtime.maxDiskMb === undefined ? {} : { diskMb: runtime.maxDiskMb }),
    maxSandboxes: config.maxSandboxes,
    sandboxes: capacity.sandboxes,
    draining: intake.state.draining,
    cordoned: intake.state.cordoned,
    drainDeadlineMs: intake.state.deadlineAtMs,
    pools: pools.states(),
    images: images.refs(),
    defaultImage: config.defaultImage,
  };
}
