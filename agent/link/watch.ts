/** The `watch` stream: a snapshot of the node, then its changes. */
import type { MuxStream, StreamHandler } from '../../src/mux/index.ts';
import type { NodeReport, PoolState, SandboxRecord } from '../../src/protocol/node.ts';
import type { SandboxChange } from '../sandboxes/ledger.ts';
import { fitting } from './fitting.ts';
import { MAX_BACKLOG_BYTES, Snapshot } from './snapshot.ts';

/** With the image list (`ImageList`), well below the size limit of one message. */
const MAX_POOLS_BYTES = 256 * 1024;
const REPORT_EVERY_MS = 1_000;
/** Minimum interval between reports while a caller may be waiting for one. */
const SOON_MS = 50;
/** Interval at which to check whether a slow gateway has caught up. */
const LOOK_AGAIN_MS = 20;
const FORGOTTEN_AT_ONCE = 1_000;

export interface FeedSource {
  report(): NodeReport;
  list(): SandboxRecord[];
  onChange(listener: (change: SandboxChange) => void): () => void;
  /** Registers a listener for report changes; `soon`: a caller may be waiting for this one. */
  onReport(listener: (soon: boolean) => void): () => void;
}

/**
 * Serves one `watch` stream. Changes within one event-loop turn are sent together, only the latest per sandbox. An end
 * is sent at once, so that gateways learn of it before calls fail because of it. A slow gateway gets the latest state
 * of each sandbox once it has caught up.
 */
export function watch(stream: MuxStream, source: FeedSource): StreamHandler {
  return new Watch(stream, source);
}

class Watch implements StreamHandler {
  readonly #stream: MuxStream;
  readonly #source: FeedSource;
  readonly #snapshot: Snapshot;
  /** Latest records that were not sent yet. */
  readonly #changed = new Map<string, SandboxRecord>();
  /** Ids of forgotten sandboxes that were not sent yet. */
  readonly #forgotten = new Set<string>();
  #flushIsDue = false;
  #flushTimer: NodeJS.Timeout | undefined;
  /** When the next report is sent, by the monotonic clock. Infinity: none is due. */
  #reportDueMs = Infinity;
  #reportedMs = -Infinity;
  #reportTimer: NodeJS.Timeout | undefined;
  readonly #stopChanges: () => void;
  readonly #stopReports: () => void;

  constructor(stream: MuxStream, source: FeedSource) {
    this.#stream = stream;
    this.#source = source;
    this.#snapshot = new Snapshot(stream, {
      report: () => this.#reportThatFits(),
      list: () => source.list(),
      flush: () => this.#send(),
    });
    this.#stopChanges = source.onChange((change) => this.#onChange(change));
    this.#stopReports = source.onReport((soon) => this.#onReport(soon));
    // The handler is in place only after this returns.
    queueMicrotask(() => {
      stream.accept();
      void this.#snapshot.send();
    });
  }

  fin(): void {
    this.#stream.end();
  }

  closed(): void {
    this.#stopChanges();
    this.#stopReports();
    clearTimeout(this.#reportTimer);
    clearTimeout(this.#flushTimer);
  }

  get #isSlow(): boolean {
    return (this.#stream.backlog ?? 0) > MAX_BACKLOG_BYTES;
  }

  #onChange(change: SandboxChange): void {
    this.#snapshot.changed(change.type === 'forgotten' ? change.id : change.record.id);
    if (change.type === 'forgotten') {
      this.#changed.delete(change.id);
      this.#forgotten.add(change.id);
    } else this.#changed.set(change.record.id, change.record);
    if (change.type === 'changed' && change.record.endedAtMs !== null) return this.#flush();
    if (this.#flushIsDue) return;
    this.#flushIsDue = true;
    setImmediate(() => this.#flush());
  }

  #flush(): void {
    if (this.#stream.closed || !this.#isSlow) return this.#send();
    this.#flushIsDue = true;
    clearTimeout(this.#flushTimer);
    this.#flushTimer = setTimeout(() => this.#flush(), LOOK_AGAIN_MS);
  }

  #send(): void {
    this.#flushIsDue = false;
    clearTimeout(this.#flushTimer);
    if (this.#stream.closed) return;
    for (const sandbox of this.#changed.values()) this.#stream.event({ type: 'sandbox', sandbox });
    this.#changed.clear();
    const ids = [...this.#forgotten];
    this.#forgotten.clear();
    for (let at = 0; at < ids.length; at += FORGOTTEN_AT_ONCE) {
      this.#stream.event({ type: 'forgotten', ids: ids.slice(at, at + FORGOTTEN_AT_ONCE) });
    }
  }

  #onReport(soon: boolean): void {
    const now = performance.now();
    const dueMs = soon ? Math.max(now, this.#reportedMs + SOON_MS) : now + REPORT_EVERY_MS;
    if (dueMs < this.#reportDueMs) this.#reportIn(dueMs - now);
  }

  #reportIn(ms: number): void {
    this.#reportDueMs = performance.now() + ms;
    clearTimeout(this.#reportTimer);
    this.#reportTimer = setTimeout(() => this.#report(), ms);
  }

  #report(): void {
    this.#reportDueMs = Infinity;
    // The last part of the snapshot carries the latest report.
    if (this.#stream.closed || !this.#snapshot.done) return;
    if (this.#isSlow) return this.#reportIn(REPORT_EVERY_MS);
    this.#reportedMs = performance.now();
    this.#stream.event({ type: 'node', node: this.#reportThatFits() });
  }

  #reportThatFits(): NodeReport {
    const report = this.#source.report();
    return { ...report, pools: poolsFor(report.pools) };
  }
}

/** If not all fit, pools with something to claim come first. */
function poolsFor(pools: PoolState[]): PoolState[] {
  const fit = fitting(pools, MAX_POOLS_BYTES);
  if (fit === pools) return pools;
  return [
    ...fitting(
      [...pools].sort((a, b) => b.warm - a.warm),
      MAX_POOLS_BYTES,
    ),
  ];
}
