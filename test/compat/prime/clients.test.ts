/**
 * The official Prime clients of three generations, unmodified, against a real service: what they do is in `checks/`.
 * Each runs over each of the wires that it knows.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startStack, type TestStack } from '../../helpers/stack.ts';
import { checksIn, CheckRun, clientEnvironment, program } from './clients.ts';

const LIMIT_MS = 400_000;
const COMMON = ['commands.py', 'sandboxes.py'];

const CLIENTS = [
  { venv: '0.2.36', wire: 'json', files: COMMON },
  { venv: '0.2.39', wire: 'json', files: COMMON },
  { venv: '0.2.39', wire: 'connect', files: [...COMMON, 'processes.py'] },
  { venv: 'newest', wire: '', files: [...COMMON, 'processes.py'] },
];

const clients = CLIENTS.map((client) => ({
  ...client,
  python: program(client.venv),
  runs: new Map<string, CheckRun>(),
}));
let stack: TestStack | undefined;
let work: Promise<unknown> = Promise.resolve();

beforeAll(async () => {
  if (clients.every(({ python }) => python === undefined)) return;
  const running = await startStack({ pool: 2, gatewayEnv: { MILLIBOX_PRIME_NETWORK: 'off' } });
  stack = running;
  for (const { venv, wire, files, python, runs } of clients) {
    if (python === undefined) continue;
    const env = { ...clientEnvironment(running, `${venv}-${wire}`), WIRE: wire };
    for (const file of files) runs.set(file, new CheckRun({ python, file, env }));
  }
  // The clients side by side, the files of one in a row: much of their time is waiting.
  work = Promise.all(
    clients.map(async ({ runs }) => {
      for (const run of runs.values()) await run.run();
    }),
  );
});

afterAll(async () => {
  for (const { runs } of clients) for (const run of runs.values()) run.stop();
  await work;
  await stack?.stop();
});

for (const { venv, wire, files, python, runs } of clients) {
  describe(`prime-sandboxes ${venv}${wire === '' ? '' : ` over ${wire}`}`, () => {
    for (const file of files) {
      test.skipIf(python === undefined).for(checksIn(file))('%s', { timeout: LIMIT_MS }, async (name) => {
        const result = await runs.get(file)?.result(name);
        expect(result?.message ?? '').toBe('');
        expect(result?.state).toBe('passed');
      });
    }
  });
}
