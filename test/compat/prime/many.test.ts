/** Official clients with more sandboxes than a test machine has room for: on a node with the fake runtime. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startStack, type TestStack } from '../../helpers/stack.ts';
import { checksIn, CheckRun, clientEnvironment, program } from './clients.ts';

const LIMIT_MS = 240_000;
/** Clients renew a token a minute before it expires: with this, every second and a half. */
const TOKEN_TTL_MS = '61500';
const RUNS = [
  { venv: '0.2.39', wire: 'connect', file: 'many.py' },
  { venv: 'newest', wire: '', file: 'tokens.py' },
].map((each) => ({ ...each, python: program(each.venv) }));

let stack: TestStack | undefined;
const runs = new Map<string, CheckRun>();
let work: Promise<unknown> = Promise.resolve();

beforeAll(async () => {
  if (RUNS.every(({ python }) => python === undefined)) return;
  const running = await startStack({
    runtime: 'fake',
    gatewayEnv: { MILLIBOX_PRIME_NETWORK: 'off', MILLIBOX_PRIME_TOKEN_TTL_MS: TOKEN_TTL_MS },
  });
  stack = running;
  for (const { venv, wire, file, python } of RUNS) {
    if (python === undefined) continue;
    const env = { ...clientEnvironment(running, `many-${venv}`), WIRE: wire, IMAGE: 'image' };
    runs.set(file, new CheckRun({ python, file, env }));
  }
  work = Promise.all([...runs.values()].map((each) => each.run()));
});
afterAll(async () => {
  for (const run of runs.values()) run.stop();
  await work;
  await stack?.stop();
});

for (const { venv, file, python } of RUNS) {
  describe(`prime-sandboxes ${venv}`, () => {
    test.skipIf(python === undefined).for(checksIn(file))('%s', { timeout: LIMIT_MS }, async (name) => {
      const result = await runs.get(file)?.result(name);
      expect(result?.message ?? '').toBe('');
      expect(result?.state).toBe('passed');
    });
  });
}
