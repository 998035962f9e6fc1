import { syncBuiltinESMExports } from 'node:module';
import { afterAll, type MockInstance } from 'vitest';

/**
 * Lets modules that import from a built-in by name call `spy`, made on its default export, until the file's tests have
 * ended. `vi.mock` reaches only what is loaded after it, and the files of a worker share what they have loaded.
 */
export function spyOfBuiltin<S extends Pick<MockInstance, 'mockRestore'>>(spy: S): S {
  syncBuiltinESMExports();
  afterAll(() => {
    spy.mockRestore();
    syncBuiltinESMExports();
  });
  return spy;
}
