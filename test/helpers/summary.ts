/**
 * The end of `npm test`: `node test/helpers/summary.ts report DIR [FAILED PHASE...]` prints names and counts and exits
 * non-zero unless everything passed; `... hanging DIR` prints what had started and not ended.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { listFailures, tally, tallyCargo } from './results.ts';

const [mode, directory, ...failedPhases] = process.argv.slice(2);
if ((mode !== 'report' && mode !== 'hanging') || directory === undefined) {
  throw new Error('usage: summary.ts report|hanging DIRECTORY [FAILED PHASE...]');
}

const files = readdirSync(directory);
const read = (name: string): string => readFileSync(join(directory, name), 'utf8');
const tests = tally(files.filter((name) => name.endsWith('.ndjson')).map(read));

if (mode === 'hanging') {
  for (const name of tests.running) console.error(`    still running: ${name}`);
} else {
  const cargo = files.includes('cargo.log') ? tallyCargo(read('cargo.log')) : { passed: 0, failed: [], skipped: [] };
  const passed = tests.passed + cargo.passed;
  const failed = [...tests.failed, ...cargo.failed, ...tests.running.map((name) => `${name} (did not end)`)];
  const skipped = [...tests.skipped, ...cargo.skipped];
  // A phase that failed without a failing test (it could not start, or was killed) is a failure too.
  if (failed.length === 0) failed.push(...failedPhases);
  else if (failedPhases.length > 0) console.log(`\nPhases that failed: ${failedPhases.join(', ')}`);
  if (passed === 0 && failed.length === 0) failed.push('no test ran');

  console.log('');
  if (skipped.length > 0) console.log(`Skipped:\n${skipped.map((name) => `  - ${name}`).join('\n')}`);
  if (failed.length > 0) console.log(`Failed:\n${listFailures(failed, tests.why)}`);
  console.log('');
  const tail = skipped.length > 0 ? `, ${skipped.length} skipped` : '';
  console.log(`${passed} passed, ${failed.length} failed${tail}`);
  process.exitCode = failed.length === 0 ? 0 : 1;
}
