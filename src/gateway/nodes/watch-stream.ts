/** The `watch` stream of one node link: a snapshot in parts, then changes. */
import type { Json, StreamHandler } from '../../mux/index.ts';
import { ServiceError } from '../../protocol/errors.ts';
import type { NodeReport, SandboxRecord, WatchEvent } from '../../protocol/node.ts';
import { MAX_SNAPSHOT_RECORDS, parseWatchEvent } from './watch.ts';

type SnapshotPart = Extract<WatchEvent, { type: 'snapshot' }>;
type Change = Exclude<WatchEvent, SnapshotPart>;

export interface WatchListener {
  /** The snapshot is complete. Called once, before all changes. */
  snapshot(report: NodeReport, sandboxes: SandboxRecord[]): void;
  change(event: Change): void;
  /** The stream has ended or broken, or a listener threw. */
  failed(error: ServiceError): void;
}

export class WatchStream implements StreamHandler {
  readonly #listener: WatchListener;
  /**
   * The records received so far of the snapshot, with the changes that came between its parts. Null: it is complete.
   */
  #records: Map<string, SandboxRecord> | null = new Map();

  constructor(listener: WatchListener) {
    this.#listener = listener;
  }

  readonly event = (message: Json): void => {
    try {
      const event = parseWatchEvent(message);
      if (event.type === 'snapshot') this.#add(event);
      else if (this.#records === null) this.#listener.change(event);
      else apply(this.#records, event);
    } catch (error) {
      this.#listener.failed(ServiceError.from(error));
    }
  };

  readonly closed = (error: ServiceError | null): void => {
    this.#listener.failed(error ?? new ServiceError('protocol_error', 'the agent ended its watch stream'));
  };

  #add(part: SnapshotPart): void {
    const records = this.#records;
    if (records === null) throw new ServiceError('protocol_error', 'a snapshot after the snapshot');
    for (const record of part.sandboxes) records.set(record.id, record);
    if (records.size > MAX_SNAPSHOT_RECORDS) throw new ServiceError('protocol_error', 'the snapshot has no end');
    if (part.more) return;
    this.#records = null;
    this.#listener.snapshot(part.node, [...records.values()]);
  }
}

function apply(records: Map<string, SandboxRecord>, event: Change): void {
  if (event.type === 'sandbox') records.set(event.sandbox.id, event.sandbox);
  if (event.type === 'forgotten') for (const id of event.ids) records.delete(id);
}
