import { expect, test } from 'vitest';
import { toMarkdown } from './markdown.ts';
import type { Report } from './report.ts';

const report: Report = {
  scenario: 'load',
  host: { cpus: 2, cpuModel: 'cpu', memoryMb: 2048, kernel: '6', node: 'v24' },
  setup: { load: 'rollouts', runtime: 'oci' },
  rows: [
    {
      name: 'exec',
      n: 10,
      ok: 9,
      p50Ms: 1.23456,
      p90Ms: 2,
      p95Ms: 3,
      p99Ms: 4,
      p999Ms: NaN,
      maxMs: 54321.5,
      perSec: 7,
    },
  ],
  ratios: { success: 0.9, dockerRun: null },
  errors: { 'exec: a | b\nc': 1 },
  leftovers: [],
};

test('every row and every figure is present, rounded to its precision', () => {
  const page = toMarkdown(report, ['load.svg']);
  expect(page).toContain('# load: rollouts');
  expect(page).toContain('![load.svg](load.svg)');
  expect(page).toContain('| exec | 10 | 9 | 1.235 | 2 | 4 | – | 54322 | 7 |');
  expect(page).toContain('| success | 0.9 |');
  expect(page).toContain('| dockerRun | not measured |');
});

test('an error text cannot break the table, and a run without failures says so', () => {
  expect(toMarkdown(report)).toContain('| exec: a   b c | 1 |');
  expect(toMarkdown({ ...report, errors: {} })).toContain('No call failed.');
});
