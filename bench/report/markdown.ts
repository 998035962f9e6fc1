/** A report as a page: what was measured, on what, the rows, the figures, and its plots. */
import type { Report } from './report.ts';

const COLUMNS = [
  ['n', 'n'],
  ['ok', 'ok'],
  ['p50 ms', 'p50Ms'],
  ['p90 ms', 'p90Ms'],
  ['p99 ms', 'p99Ms'],
  ['p99.9 ms', 'p999Ms'],
  ['max ms', 'maxMs'],
  ['per s', 'perSec'],
] as const;

/** @param pictures file names in the same directory */
export function toMarkdown(report: Report, pictures: readonly string[] = []): string {
  const { host, setup, rows, ratios, errors } = report;
  return `${[
    `# ${setup['load'] === undefined ? report.scenario : `${report.scenario}: ${setup['load']}`}`,
    `${host.cpus} x ${host.cpuModel}, ${Math.round(host.memoryMb / 1024)} GiB, Linux ${host.kernel}, Node ${host.node}. ${Object.entries(
      setup,
    )
      .map(([key, value]) => `${key}: ${value}`)
      .join(', ')}.`,
    ...pictures.map((name) => `![${name}](${name})`),
    table([
      ['', ...COLUMNS.map(([title]) => title)],
      ['---', ...COLUMNS.map(() => '---:')],
      ...rows.map((row) => [row.name, ...COLUMNS.map(([, key]) => figure(row[key]))]),
    ]),
    table([
      ['figure', 'value'],
      ['---', '---:'],
      ...Object.entries(ratios).map(([name, value]) => [name, value === null ? 'not measured' : figure(value)]),
    ]),
    Object.keys(errors).length === 0
      ? 'No call failed.'
      : table([
          ['failed', 'times'],
          ['---', '---:'],
          ...Object.entries(errors).map(([what, times]) => [what, String(times)]),
        ]),
  ].join('\n\n')}\n`;
}

/** Cells may contain error texts: none of them may end a cell or a line. */
function table(rows: readonly (readonly string[])[]): string {
  return rows.map((cells) => `| ${cells.map((cell) => cell.replace(/[|\n\r]/g, ' ')).join(' | ')} |`).join('\n');
}

/** No measurement is more precise than four digits. */
function figure(value: number): string {
  if (!Number.isFinite(value)) return '–';
  return Math.abs(value) >= 1000 ? String(Math.round(value)) : String(Number(value.toPrecision(4)));
}
