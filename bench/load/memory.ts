/** Memory of the machine and of processes, from the kernel's own counters. */
import { readFileSync } from 'node:fs';

function field(text: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? Number.NaN);
}

/** Memory in use that cannot be reclaimed, in MB: everything that sandboxes cost, kernel included. */
export function machineUsedMb(): number {
  const text = readFileSync('/proc/meminfo', 'utf8');
  return (field(text, 'MemTotal') - field(text, 'MemAvailable')) / 1024;
}

/** Resident memory of one process in MB; 0 when it is gone. */
export function residentMb(pid: number): number {
  try {
    return field(readFileSync(`/proc/${pid}/status`, 'utf8'), 'VmRSS') / 1024;
  } catch {
    return 0;
  }
}

/** Tracks the peak resident memory of some processes while something runs. */
export class PeakMemory implements Disposable {
  readonly #pids: readonly number[];
  readonly #timer: NodeJS.Timeout;
  readonly #before: number[];
  #growthMb = 0;

  constructor(pids: readonly number[]) {
    this.#pids = pids;
    this.#before = pids.map(residentMb);
    this.#timer = setInterval(() => this.#look(), 50);
  }

  /** Growth of the process that grew most. */
  get growthMb(): number {
    this.#look();
    return this.#growthMb;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    this.#pids.forEach((pid, i) => {
      this.#growthMb = Math.max(this.#growthMb, residentMb(pid) - (this.#before[i] ?? 0));
    });
  }
}
