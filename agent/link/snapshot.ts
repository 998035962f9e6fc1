/**
 * A node's full state, sent once, in parts far below the size limit of a message. A gateway takes the report from the
 * last part, so only that one is complete; the others carry a minimal valid report, which every version can read.
 */
import type { Json, MuxStream } from '../../src/mux/index.ts';
import type { NodeReport, SandboxRecord } from '../../src/protocol/node.ts';
import { jsonBytes } from './fitting.ts';

const PART_BYTES = 256 * 1024;
/** The next part waits while more than this is queued on the link, which all streams share. */
export const MAX_BACKLOG_BYTES = 1024 * 1024;
const LOOK_AGAIN_MS = 5;

interface SnapshotSource {
  report(): NodeReport;
  list(): SandboxRecord[];
  /** Sends the pending changes. */
  flush(): void;
}

export class Snapshot {
  readonly #stream: MuxStream;
  readonly #source: SnapshotSource;
  /** Sandboxes that changed during the snapshot: their listed records are out of date. */
  readonly #changed = new Set<string>();
  #done = false;

  constructor(stream: MuxStream, source: SnapshotSource) {
    this.#stream = stream;
    this.#source = source;
  }

  /** The whole snapshot has been sent. */
  get done(): boolean {
    return this.#done;
  }

  /** A change of this sandbox is being sent. */
  changed(id: string): void {
    if (!this.#done) this.#changed.add(id);
  }

  /** Sends the first part at once. Never rejects. */
  async send(): Promise<void> {
    let part: SandboxRecord[] = [];
    let bytes = 0;
    for (const record of this.#source.list()) {
      const size = jsonBytes(record);
      if (part.length > 0 && bytes + size > PART_BYTES) {
        this.#part(part, true);
        part = [];
        bytes = 0;
        await this.#room();
        if (this.#stream.closed) return;
      }
      if (this.#changed.has(record.id)) continue;
      part.push(record);
      bytes += size;
    }
    // Changes first: their sandboxes are left out here, and a gateway treats what it has received by now as the full
    // state.
    this.#source.flush();
    const report = this.#source.report();
    const fits = bytes + jsonBytes(report) <= PART_BYTES;
    if (!fits && part.length > 0) this.#part(part, true, report);
    this.#part(fits ? part : [], false, report);
    this.#done = true;
    this.#changed.clear();
  }

  #part(records: SandboxRecord[], more: boolean, report: NodeReport = this.#source.report()): void {
    const node = more ? { ...report, pools: [], images: [] } : report;
    const sandboxes = records.filter(({ id }) => !this.#changed.has(id));
    const event: Json = { type: 'snapshot', node, sandboxes, more };
    this.#stream.event(event);
  }

  /** Lets other work run between parts, and waits for the peer to read them. */
  async #room(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    while (!this.#stream.closed && (this.#stream.backlog ?? 0) > MAX_BACKLOG_BYTES) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
    }
  }
}
