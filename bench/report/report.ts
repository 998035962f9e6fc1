/** One run of one scenario, as JSON for scripts or as a table for people. */
import { cpus, totalmem, release } from 'node:os';
import type { Row } from './statistics.ts';

export interface Host {
  cpus: number;
  cpuModel: string;
  memoryMb: number;
  kernel: string;
  node: string;
}

export interface Report {
  scenario: string;
  host: Host;
  /** What was measured and how: runtime, pool, sizes. */
  setup: Record<string, string | number | boolean>;
  rows: Row[];
  /** null: not measured in this run (for example, without a Docker engine). */
  ratios: Record<string, number | null>;
  /** Texts of failures, with their counts. */
  errors: Record<string, number>;
  /** What the run has left on this machine; if anything, the run counts as failed. */
  leftovers: string[];
  /** Results that do not fit into rows. */
  detail?: Record<string, unknown>;
}

export function describeHost(): Host {
  const all = cpus();
  return {
    cpus: all.length,
    cpuModel: all[0]?.model ?? 'unknown',
    memoryMb: Math.round(totalmem() / 1024 / 1024),
    kernel: release(),
    node: process.version,
  };
}

const COLUMNS = ['n', 'ok', 'p50Ms', 'p90Ms', 'p95Ms', 'p99Ms', 'p999Ms', 'maxMs', 'perSec'] as const;

export function toTable(report: Report): string {
  const { host } = report;
  const lines = [
    `${report.scenario}: ${host.cpus} x ${host.cpuModel}, ${Math.round(host.memoryMb / 1024)} GiB, Linux ${host.kernel}, Node ${host.node}`,
    Object.entries(report.setup)
      .map(([key, value]) => `${key} ${value}`)
      .join(', '),
    '',
    ...table([
      ['', ...COLUMNS],
      ...report.rows.map((row) => [row.name, ...COLUMNS.map((column) => String(Math.round(row[column] * 100) / 100))]),
    ]),
    '',
    ...table(
      Object.entries(report.ratios).map(([name, value]) => [name, value === null ? 'not measured' : String(value)]),
    ),
    ...Object.entries(report.errors).map(([text, times]) => `failed ${times}x: ${text}`),
    ...report.leftovers.map((text) => `left behind: ${text}`),
  ];
  return `${lines.join('\n')}\n`;
}

function table(rows: string[][]): string[] {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, cell.length)));
  return rows.map((row) =>
    row
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
      .join('  ')
      .trimEnd(),
  );
}
