import { defineConfig } from 'vitest/config';

// unit: no engine, no network, parallel. real: real engine, real containers, one file after the other on few cores.
// last: runs after everything else and looks for what the run left behind.
export default defineConfig({
  test: {
    projects: [
      {
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
        },
      },
      {
        test: {
          name: 'real',
          include: ['test/{integration,contract,deploy,e2e,compat,chaos}/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 180_000,
          hookTimeout: 300_000,
        },
      },
      { test: { name: 'last', include: ['test/last/**/*.test.ts'], testTimeout: 60_000 } },
    ],
  },
});
