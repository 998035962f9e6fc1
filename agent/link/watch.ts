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
  const changed = new Map<string, SandboxRecord>();
  const forgotten = new Set<string>();
  let scheduled = false;
  let flushTimer: NodeJS.Timeout | undefined;
  let reportTimer: NodeJS.Timeout | undefined;
  let reportDueMs = Infinity;
  let reportedMs = -Infinity;

  const lagging = (): boolean => (stream.backlog ?? 0) > MAX_BACKLOG_BYTES;
  const send = (): void => {
    scheduled = false;
    clearTimeout(flushTimer);
    if (stream.closed) return;
    for (const sandbox of changed.values()) stream.event({ type: 'sandbox', sandbox });
    changed.clear();
    const ids = [...forgotten];
    forgotten.clear();
    for (let at = 0; at < ids.length; at += FORGOTTEN_AT_ONCE) {
      stream.event({ type: 'forgotten', ids: ids.slice(at, at + FORGOTTEN_AT_ONCE) });
    }
  };
  const flush = (): void => {
    if (stream.closed || !lagging()) return send();
    scheduled = true;
    clearTimeout(flushTimer);
    flushTimer = setTimeout(flush, LOOK_AGAIN_MS);
  };
  const reportThatFits: FeedSource['report'] = () => {
    const node = source.report();
    return { ...node, pools: poolsFor(node.pools) };
  };
  const snapshot = new Snapshot(stream, { report: reportThatFits, list: () => source.list(), flush: send });
  const stopChanges = source.onChange((change) => {
    snapshot.changed(change.type === 'forgotten' ? change.id : change.record.id);
    if (change.type === 'forgotten') {
      changed.delete(change.id);
      forgotten.add(change.id);
    } else changed.set(change.record.id, change.record);
    if (change.type === 'changed' && change.record.endedAtMs !== null) return flush();
    if (scheduled) return;
    scheduled = true;
    setImmediate(flush);
  });
  const report = (): void => {
    reportDueMs = Infinity;
    // The last part of the snapshot carries the latest report.
    if (stream.closed || !snapshot.done) return;
    if (lagging()) return reportIn(REPORT_EVERY_MS);
    reportedMs = performance.now();
    stream.event({ type: 'node', node: reportThatFits() });
  };
  const reportIn = (ms: number): void => {
    reportDueMs = performance.now() + ms;
    clearTimeout(reportTimer);
    reportTimer = setTimeout(report, ms);
  };
  const stopReports = source.onReport((soon) => {
    const now = performance.now();
    const dueMs = soon ? Math.max(now, reportedMs + SOON_MS) : now + REPORT_EVERY_MS;
    if (dueMs >= reportDueMs) return;
    reportIn(dueMs - now);
  });
  // The handler is in place only after this returns.
  queueMicrotask(() => {
    stream.accept();
    void snapshot.send();
  });
  return {
    fin: () => stream.end(),
    closed: () => {
      stopChanges();
      stopReports();
      clearTimeout(reportTimer);
      clearTimeout(flushTimer);
    },
  };
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
