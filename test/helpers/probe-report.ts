/** How a part of the service reports what it holds. */
import { renameSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface ProbeReport {
  heapMb: number;
  /** Buffers outside of the heap. */
  buffersMb: number;
  residentMb: number;
  /** Those that keep the process alive. */
  timers: number;
}

const MB = 1024 * 1024;

export const reportFile = (pid: number): string => join(tmpdir(), `probe-${pid}.json`);

/** Writes the report, atomically. */
export function writeReport(): void {
  const { heapUsed, arrayBuffers, rss } = process.memoryUsage();
  const timers = process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  const report: ProbeReport = { heapMb: heapUsed / MB, buffersMb: arrayBuffers / MB, residentMb: rss / MB, timers };
  const file = reportFile(process.pid);
  writeFileSync(`${file}.part`, JSON.stringify(report));
  renameSync(`${file}.part`, file);
}
