/** How a part of the service reports what it holds. */
import { renameSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Told {
  heapMb: number;
  /** Buffers outside of the heap. */
  buffersMb: number;
  residentMb: number;
  /** Those that keep the process alive. */
  timers: number;
}

const MB = 1024 * 1024;

export const answerFile = (pid: number): string => join(tmpdir(), `probe-${pid}.json`);

/** Writes the report, atomically. */
export function tell(): void {
  const { heapUsed, arrayBuffers, rss } = process.memoryUsage();
  const timers = process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  const told: Told = { heapMb: heapUsed / MB, buffersMb: arrayBuffers / MB, residentMb: rss / MB, timers };
  const file = answerFile(process.pid);
  writeFileSync(`${file}.part`, JSON.stringify(told));
  renameSync(`${file}.part`, file);
}
