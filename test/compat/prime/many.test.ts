/** Official clients and more sandboxes than a test machine has room for: on a node that only plays containers. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startStack, type TestStack } from '../../helpers/stack.ts';
import { checksIn, CheckRun, clientEnvironment, program } from './clients.ts';

const LIMIT_MS = 240_000;
const FILE = 'many.py';
const python = program('0.2.39');
let stack: TestStack | undefined;
let checks: CheckRun | undefined;
let work: Promise<void> = Promise.resolve();

beforeAll(async () => {
  if (python === undefined) return;
  stack = await startStack({ runtime: 'fake', gatewayEnv: { MILLIBOX_PRIME_NETWORK: 'off' } });
  const env = { ...clientEnvironment(stack, 'many'), WIRE: 'connect', IMAGE: 'image' };
  checks = new CheckRun({ python, file: FILE, env });
  work = checks.run();
});
afterAll(async () => {
  checks?.stop();
  await work;
  await stack?.stop();
});

test.skipIf(python === undefined).for(checksIn(FILE))('%s', { timeout: LIMIT_MS }, async (name) => {
  const result = await checks?.result(name);
  expect(result?.message ?? '').toBe('');
  expect(result?.state).toBe('passed');
});
