/** The `watch` stream: a snapshot of the node, then its changes. */
import type { Json, MuxStream, StreamHandler } from '../../src/mux/index.ts';
import type { NodeReport, SandboxRecord } from '../../src/protocol/node.ts';
import type { SandboxChange } from '../sandboxes/sandboxes.ts';

/** Well below the size limit of one message. */
const SNAPSHOT_PART_BYTES = 256 * 1024;
const REPORT_EVERY_MS = 1_000;
/** Least time between two reports if a caller may be waiting for one. */
const SOON_MS = 50;
const FORGOTTEN_AT_ONCE = 1_000;

export interface FeedSource {
  report(): NodeReport;
  list(): SandboxRecord[];
  onChange(listener: (change: SandboxChange) => void): () => void;
  /** Registers a listener for changes of the report; `soon`: a caller may be waiting for it. */
  onReport(listener: (soon: boolean) => void): () => void;
}

/**
 * Serves one `watch` stream. Changes of one event-loop turn are sent together, only the newest per sandbox. An end is
 * sent at once, so that gateways know of it before the calls that fail with it.
 */
export function watch(stream: MuxStream, source: FeedSource): StreamHandler {
  const changed = new Map<string, SandboxRecord>();
  const forgotten = new Set<string>();
  let scheduled = false;
  let reportTimer: NodeJS.Timeout | undefined;
  let reportDueMs = Infinity;
  let reportedMs = -Infinity;

  const flush = (): void => {
    scheduled = false;
    if (stream.closed) return;
    for (const sandbox of changed.values()) stream.event({ type: 'sandbox', sandbox });
    changed.clear();
    const ids = [...forgotten];
    forgotten.clear();
    for (let at = 0; at < ids.length; at += FORGOTTEN_AT_ONCE) {
      stream.event({ type: 'forgotten', ids: ids.slice(at, at + FORGOTTEN_AT_ONCE) });
    }
  };
  const stopChanges = source.onChange((change) => {
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
    reportedMs = performance.now();
    if (!stream.closed) stream.event({ type: 'node', node: source.report() });
  };
  const stopReports = source.onReport((soon) => {
    const now = performance.now();
    const dueMs = soon ? Math.max(now, reportedMs + SOON_MS) : now + REPORT_EVERY_MS;
    if (dueMs >= reportDueMs) return;
    reportDueMs = dueMs;
    clearTimeout(reportTimer);
    reportTimer = setTimeout(report, dueMs - now);
  });
  // The handler is in place only after this returns.
  queueMicrotask(() => {
    stream.accept();
    sendSnapshot(stream, source);
  });
  return {
    fin: () => stream.end(),
    closed: () => {
      stopChanges();
      stopReports();
      clearTimeout(reportTimer);
    },
  };
}

function sendSnapshot(stream: MuxStream, source: FeedSource): void {
  const node = source.report();
  let part: SandboxRecord[] = [];
  let bytes = 0;
  const send = (more: boolean): void => {
    const event: Json = { type: 'snapshot', node, sandboxes: part, more };
    stream.event(event);
    part = [];
    bytes = 0;
  };
  for (const record of source.list()) {
    const size = JSON.stringify(record).length;
    if (part.length > 0 && bytes + size > SNAPSHOT_PART_BYTES) send(true);
    part.push(record);
    bytes += size;
  }
  send(false);
}
