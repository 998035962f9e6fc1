/** The only place where tests read the environment. */

/** Where this run's results go; undefined outside of `npm test`. */
export function testRun(): { directory: string | undefined; phase: string } {
  return { directory: process.env['MILLIBOX_TEST_RUN'], phase: process.env['MILLIBOX_TEST_PHASE'] ?? 'vitest' };
}

/** The number of the worker that runs this file, from 1: no two concurrent ones have the same. */
export const workerNumber = (): number => Number(process.env['VITEST_POOL_ID'] ?? 0);

/** In CI, a test that the machine could run is never skipped. */
export const inCi = (): boolean => (process.env['CI'] ?? '') !== '';

/** The environment for our programs, without the rest of the caller's. */
export function allowedEnvironment(): Record<string, string> {
  const allowed: Record<string, string> = {};
  for (const name of ['PATH', 'HOME', 'LANG', 'TMPDIR', 'DOCKER_HOST']) {
    const value = process.env[name];
    if (value !== undefined) allowed[name] = value;
  }
  return allowed;
}

/** The set-up's state directory: base image, engine. */
export function setupHome(): string {
  const own = process.env['MILLIBOX_HOME'];
  if (own !== undefined && own !== '') return own;
  return process.getuid?.() === 0 ? '/var/lib/millibox' : `${process.env['HOME'] ?? ''}/.millibox`;
}

/** `docker`, `oci`, `gvisor` or `fake`; undefined: whatever `auto` chooses. */
export const chosenRuntime = (): string | undefined => process.env['MILLIBOX_TEST_RUNTIME'];

/** A configurable amount: `MILLIBOX_TEST_CUTS=1000`. */
export function amount(
  name: 'MILLIBOX_TEST_CHAOS_MS' | 'MILLIBOX_TEST_CUTS' | 'MILLIBOX_TEST_EXECS' | 'MILLIBOX_TEST_SEED',
  usual: number,
): number {
  const given = process.env[name];
  return given === undefined || given === '' ? usual : Number(given);
}

/** `MILLIBOX_TEST_DOCKERFILES=1`: images are built from the Dockerfiles and tested, which takes minutes. */
export const buildsImages = (): boolean => process.env['MILLIBOX_TEST_DOCKERFILES'] === '1';

/** `MILLIBOX_TEST_KUBERNETES=1`: a Kubernetes API server is built, which takes minutes, and tests against it must run. */
export const wantsKubernetes = (): boolean => process.env['MILLIBOX_TEST_KUBERNETES'] === '1';

/** `MILLIBOX_TEST_VM=1`: tests run in a virtual machine on an emulated processor, which takes half an hour. */
export const wantsVirtualMachine = (): boolean => process.env['MILLIBOX_TEST_VM'] === '1';
