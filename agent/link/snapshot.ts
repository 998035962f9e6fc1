/**
 * What a node has, sent once, in parts that are far below the size limit of a message. A gateway takes the report of the
 * last part, so only that one carries all of it; the others carry one that is empty but valid, which every version reads.
 */
import type { Json, MuxStream } from '../../src/mux/index.ts';
import type { NodeReport, SandboxRecord } from '../../src/protocol/node.ts';
import { jsonBytes } from './fitting.ts';

const PART_BYTES = 256 * 1024;
/** The next part waits while more than this is queued on the link, where everybody's messages queue. */
export const MAX_BACKLOG_BYTES = 1024 * 1024;
const LOOK_AGAIN_MS = 5;

interface SnapshotSource {
  report(): NodeReport;
  list(): SandboxRecord[];
  /** Sends the changes that wait. */
  flush(): void;
}

export class Snapshot {
  readonly #stream: MuxStream;
  readonly #source: SnapshotSource;
  /** Sandboxes that have changed meanwhile: what was listed of them is out of date. */
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

  /** The first part is sent at once. Never rejects. */
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
    // Changes first: their sandboxes are left out here, and a gateway takes what it has received by now for all there is.
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

  /** Other work goes on between two parts, and the peer has to read them. */
  async #room(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    while (!this.#stream.closed && (this.#stream.backlog ?? 0) > MAX_BACKLOG_BYTES) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
    }
  }
}
