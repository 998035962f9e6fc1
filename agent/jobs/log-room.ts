/** The limit on the logs of all jobs. When it is reached, the sandbox with the largest logs loses its oldest output. */
import type { Job } from './job.ts';

interface Share {
  bytes: number;
  readonly jobs: Map<Job, number>;
}

export class LogRoom {
  readonly #maxBytes: number;
  readonly #giveUp: (sandbox: string, job: Job) => void;
  readonly #shares = new Map<string, Share>();
  #bytes = 0;

  /** @param giveUp removes an ended job, and calls `gone` */
  constructor(maxBytes: number, giveUp: (sandbox: string, job: Job) => void) {
    this.#maxBytes = maxBytes;
    this.#giveUp = giveUp;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Call when the size of a job's log has changed. */
  changed(sandbox: string, job: Job): void {
    this.#measure(sandbox, job);
    while (this.#bytes > this.#maxBytes && this.#makeRoom());
  }

  gone(sandbox: string, job: Job): void {
    const share = this.#shares.get(sandbox);
    const bytes = share?.jobs.get(job);
    if (share === undefined || bytes === undefined) return;
    share.jobs.delete(job);
    share.bytes -= bytes;
    this.#bytes -= bytes;
    if (share.jobs.size === 0) this.#shares.delete(sandbox);
  }

  forget(sandbox: string): void {
    this.#bytes -= this.#shares.get(sandbox)?.bytes ?? 0;
    this.#shares.delete(sandbox);
  }

  #measure(sandbox: string, job: Job): void {
    const share = this.#shares.get(sandbox) ?? { bytes: 0, jobs: new Map<Job, number>() };
    this.#shares.set(sandbox, share);
    const bytes = job.files.diskBytes;
    const more = bytes - (share.jobs.get(job) ?? 0);
    share.jobs.set(job, bytes);
    share.bytes += more;
    this.#bytes += more;
  }

  /** False if nothing can be removed. */
  #makeRoom(): boolean {
    const [sandbox, share] = largest(this.#shares, ({ bytes }) => bytes) ?? [];
    if (sandbox === undefined || share === undefined) return false;
    const [job] = largest(share.jobs, (bytes) => bytes) ?? [];
    if (job?.files.dropOldest()) {
      this.#measure(sandbox, job);
      return true;
    }
    for (const ended of share.jobs.keys()) {
      if (ended.exit === null) continue;
      this.#giveUp(sandbox, ended);
      return true;
    }
    return false;
  }
}

function largest<K, V>(all: ReadonlyMap<K, V>, sizeOf: (value: V) => number): [K, V] | undefined {
  let found: [K, V] | undefined;
  for (const entry of all) if (found === undefined || sizeOf(entry[1]) > sizeOf(found[1])) found = entry;
  return found;
}
