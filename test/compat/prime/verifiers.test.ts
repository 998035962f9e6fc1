/** `verifiers`, unmodified: its environments run evaluations with real rollouts in real sandboxes. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startStack, type TestStack } from '../../helpers/stack.ts';
import { until } from '../../helpers/until.ts';
import { checksIn, CheckRun, clientEnvironment, program, testImage } from './clients.ts';
import { ScriptedModel } from './scripted-model.ts';

const FILE = 'rollouts.py';
const LIMIT_MS = 300_000;
const FIRST_TURN_MS = 1_000;
const python = program('verifiers-legacy');

let stack: TestStack | undefined;
let model: ScriptedModel | undefined;
let run: CheckRun | undefined;
let work: Promise<void> = Promise.resolve();

beforeAll(async () => {
  if (python === undefined) return;
  const running = await startStack({
    pool: 8,
    gatewayEnv: {
      MILLIBOX_PRIME_NETWORK: 'off',
      // Its Python environment has one image name built in: the operator's map says what that is here.
      MILLIBOX_PRIME_IMAGE_MAP: `python:3.11-slim=${testImage()}`,
    },
  });
  stack = running;
  await running.warm(8);
  model = await ScriptedModel.start({
    // A second, as the shortest first turn; on a machine that is too slow for that, as long as sandboxes are on their way.
    thinks: async () => {
      await sleep(FIRST_TURN_MS);
      await until(async () => !(await anyPending(running)), LIMIT_MS, 'no sandbox to be on its way');
    },
  });
  const env = { ...clientEnvironment(running, 'verifiers'), MODEL_URL: model.url, HF_HUB_OFFLINE: '1' };
  run = new CheckRun({ python, file: FILE, env });
  work = run.run();
});

afterAll(async () => {
  run?.stop();
  await work;
  await model?.[Symbol.asyncDispose]();
  await stack?.stop();
});

async function anyPending({ url, apiKey }: TestStack): Promise<boolean> {
  const response = await fetch(`${url}/api/v1/sandbox?is_active=true&per_page=1000`, {
    headers: { authorization: `Bearer ${apiKey}` },
  });
  const { sandboxes } = (await response.json()) as { sandboxes: { status: string }[] };
  return sandboxes.some(({ status }) => status !== 'RUNNING');
}

test.skipIf(python === undefined).for(checksIn(FILE))('%s', { timeout: LIMIT_MS }, async (name) => {
  const result = await run?.result(name);
  expect(result?.message ?? '').toBe('');
  expect(result?.state).toBe('passed');
});
