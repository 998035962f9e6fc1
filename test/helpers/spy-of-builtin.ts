import { syncBuiltinESMExports } from 'node:module';
import { afterAll, type MockInstance } from 'vitest';

/**
 * Makes modules that import a built-in by name call `spy`, which is installed on its default export, until the file's
 * tests have ended. `vi.mock` only affects modules loaded later, and the files of a worker share loaded modules.
 */
export function spyOfBuiltin<S extends Pick<MockInstance, 'mockRestore'>>(spy: S): S {
  syncBuiltinESMExports();
  afterAll(() => {
    spy.mockRestore();
    syncBuiltinESMExports();
  });
  return spy;
}
