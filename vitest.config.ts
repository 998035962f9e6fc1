import { defineConfig } from 'vitest/config';
import LongestFirst from './test/helpers/longest-first.ts';

/** Files at once, on two cores and on more. */
const AT_ONCE = 2;
/**
 * A real test has a home, ports and namespaces of its own and waits for half of its time: a third of them keeps two cores
 * busy. More would mostly lengthen each other's waits, and clients bound some of those by themselves.
 */
const REAL_AT_ONCE = AT_ONCE + 1;

// unit: no engine, no network. real: real engine, real containers.
// last: runs after everything else and looks for what the run left behind.
export default defineConfig({
  test: {
    maxWorkers: AT_ONCE,
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: [
            'src/**/*.test.ts',
            'agent/**/*.test.ts',
            'bench/**/*.test.ts',
            'test/{property,helpers}/**/*.test.ts',
          ],
          testTimeout: 30_000,
          hookTimeout: 30_000,
          // The files of a worker share what they load: for each anew, that took longer than most of their tests.
          isolate: false,
          setupFiles: 'test/helpers/same-globals.ts',
        },
      },
      {
        extends: true,
        test: {
          name: 'real',
          include: ['test/{integration,contract,deploy,e2e,compat,chaos}/**/*.test.ts'],
          testTimeout: 180_000,
          hookTimeout: 300_000,
          maxWorkers: REAL_AT_ONCE,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: 'last',
          include: ['test/last/**/*.test.ts'],
          testTimeout: 60_000,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
