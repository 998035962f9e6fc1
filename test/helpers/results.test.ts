import { expect, test } from 'vitest';
import { listFailures, tally, tallyCargo } from './results.ts';

const lines = (...rows: object[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join('');

test('counts results by state, over all phases', () => {
  const unit = lines(
    { kind: 'run-start' },
    { kind: 'start', name: 'a' },
    { kind: 'result', name: 'a', state: 'passed' },
    { kind: 'result', name: 'b', state: 'skipped', note: 'no registry' },
    { kind: 'run-end' },
  );
  const real = lines({ kind: 'result', name: 'c', state: 'failed', why: 'expected 1' }, { kind: 'run-end' });
  expect(tally([unit, real])).toEqual({
    passed: 1,
    failed: ['c'],
    why: new Map([['c', 'expected 1']]),
    skipped: ['b (no registry)'],
    running: [],
    complete: true,
  });
});

test('a killed run shows which tests were running, and a truncated line is no error', () => {
  const text = `${lines({ kind: 'start', name: 'slow' })}{"kind":"resu`;
  expect(tally([text])).toMatchObject({ running: ['slow'], complete: false });
});

test('a failure shows its reason, with a bounded part of the logs in its message', () => {
  const logs = Array.from({ length: 100 }, (_, i) => `line ${i}`).join('\n');
  const text = listFailures(['a', 'b'], new Map([['b', `did not start\n${logs}`]])).split('\n');
  expect(text.slice(0, 4)).toEqual(['  x a', '  x b', '      did not start', '      line 0']);
  expect(text).toHaveLength(2 + 60 + 1);
  expect(text.at(-1)).toBe('      (and 41 lines more above)');
});

test('the results of all cargo test binaries are added up', () => {
  const log = [
    'test frames::golden ... ok',
    'test frames::rubbish ... FAILED',
    'test slow - should panic ... ignored',
    'test result: FAILED. 11 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s',
    'test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s',
  ].join('\n');
  expect(tallyCargo(log)).toEqual({
    passed: 14,
    failed: ['boxinit > frames::rubbish'],
    skipped: ['boxinit > slow'],
  });
});
