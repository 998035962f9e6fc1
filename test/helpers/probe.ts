/** Asks a part of the service what it holds. */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { descriptors } from './host.ts';
import { reportFile, type ProbeReport } from './probe-report.ts';
import { until } from './until.ts';

export interface Holdings extends ProbeReport {
  descriptors: number;
}

/** For the environment of a part, so that it can be probed. */
export const PROBED = { NODE_OPTIONS: `--import=${join(import.meta.dirname, 'answer-probe.ts')}` };

/** @param pid of a process that was started with `PROBED` */
export async function probe(pid: number): Promise<Holdings> {
  const file = reportFile(pid);
  rmSync(file, { force: true });
  process.kill(pid, 'SIGUSR2');
  await until(() => existsSync(file), 60_000, `process ${pid} to say what it holds`);
  const report = JSON.parse(readFileSync(file, 'utf8')) as ProbeReport;
  rmSync(file);
  return { ...report, descriptors: descriptors(pid) };
}
