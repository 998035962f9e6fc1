/** Unmodified `verifiers`: its environments run evaluations with real rollouts in real sandboxes. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startStack, type TestStack } from '../../helpers/stack.ts';
import { until } from '../../helpers/until.ts';
import { checksIn, CheckRun, clientEnvironment, program, testImage } from './clients.ts';
import { ScriptedModel } from './scripted-model.ts';

const LIMIT_MS = 300_000;
const FIRST_TURN_MS = 1_000;
/** The generation with SandboxEnv and PythonEnv, and the newest. */
const RUNS = [
  { venv: 'verifiers-legacy', file: 'rollouts.py' },
  { venv: 'verifiers-newest', file: 'runtime.py' },
].map((each) => ({ ...each, python: program(each.venv) }));

let stack: TestStack | undefined;
let model: ScriptedModel | undefined;
const runs = new Map<string, CheckRun>();
let work: Promise<void> = Promise.resolve();

beforeAll(async () => {
  if (RUNS.every(({ python }) => python === undefined)) return;
  const running = await startStack({
    pool: 8,
    gatewayEnv: {
      MILLIBOX_PRIME_NETWORK: 'off',
      // Its Python environment has a built-in image name: the operator's map translates it here.
      MILLIBOX_PRIME_IMAGE_MAP: `python:3.11-slim=${testImage()}`,
    },
  });
  stack = running;
  await running.warm(8);
  model = await ScriptedModel.start({
    // A second, as the shortest first turn; on a machine too slow for that, until the sandboxes are up.
    thinks: async () => {
      await sleep(FIRST_TURN_MS);
      await until(async () => !(await anyPending(running)), LIMIT_MS, 'no sandbox to be on its way');
    },
  });
  for (const { venv, file, python } of RUNS) {
    if (python === undefined) continue;
    const env = { ...clientEnvironment(running, venv), MODEL_URL: model.url, HF_HUB_OFFLINE: '1' };
    runs.set(file, new CheckRun({ python, file, env }));
  }
  work = inOrder();
});

afterAll(async () => {
  for (const run of runs.values()) run.stop();
  await work;
  await model?.[Symbol.asyncDispose]();
  await stack?.stop();
});

/** Sequentially: some of what they request has their own time limit. */
async function inOrder(): Promise<void> {
  for (const run of runs.values()) await run.run();
}

async function anyPending({ url, apiKey }: TestStack): Promise<boolean> {
  const response = await fetch(`${url}/api/v1/sandbox?is_active=true&per_page=1000`, {
    headers: { authorization: `Bearer ${apiKey}` },
  });
  const { sandboxes } = (await response.json()) as { sandboxes: { status: string }[] };
  return sandboxes.some(({ status }) => status !== 'RUNNING');
}

for (const { venv, file, python } of RUNS) {
  describe(venv, () => {
    test.skipIf(python === undefined).for(checksIn(file))('%s', { timeout: LIMIT_MS }, async (name) => {
      const result = await runs.get(file)?.result(name);
      expect(result?.message ?? '').toBe('');
      expect(result?.state).toBe('passed');
    });
  });
}
