/**
 * What the first command of a rollout waits for, in an evaluation of `verifiers` whose sandboxes start cold. Measured at
 * the model: from the call that it has sent to the request that brings the result.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DEFAULT_PRIME_CONFIG } from '../../../src/gateway/doors/prime/config.ts';
import { startStack, type TestStack } from '../../helpers/stack.ts';
import { checksIn, CheckRun, clientEnvironment, program } from './clients.ts';
import { ScriptedModel } from './scripted-model.ts';

const LIMIT_MS = 300_000;
const { holdCreateMs } = DEFAULT_PRIME_CONFIG;
const FILE = 'overlap.py';
const python = program('verifiers-legacy');
let stack: TestStack;
let model: ScriptedModel;
let run: CheckRun | undefined;
let work: Promise<void> = Promise.resolve();

beforeAll(async () => {
  if (python === undefined) return;
  // The slowest start there is: with none that wait, of the runtime that takes longest.
  stack = await startStack({ runtime: 'docker', pool: 0, gatewayEnv: { MILLIBOX_PRIME_NETWORK: 'off' } });
  model = await ScriptedModel.start();
  const env = { ...clientEnvironment(stack, 'overlap'), MODEL_URL: model.url, HF_HUB_OFFLINE: '1' };
  run = new CheckRun({ python, file: FILE, env });
  work = run.run();
});
afterAll(async () => {
  run?.stop();
  await work;
  await model?.[Symbol.asyncDispose]();
  await stack?.stop();
});

const median = (values: number[]): number => {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
};

/** From accepted to running, as the service says it. */
async function starts(): Promise<number[]> {
  const response = await fetch(`${stack.url}/api/v1/sandbox?labels=overlap&per_page=100`, {
    headers: { authorization: `Bearer ${stack.apiKey}` },
  });
  const { sandboxes } = (await response.json()) as { sandboxes: { createdAt: string; startedAt: string }[] };
  return sandboxes.map(({ createdAt, startedAt }) => Date.parse(startedAt) - Date.parse(createdAt));
}

describe.skipIf(python === undefined)('a model whose first turn takes a second', () => {
  test.for(checksIn(FILE))('%s', { timeout: LIMIT_MS }, async (name) => {
    const result = await run?.result(name);
    expect(result?.message ?? '').toBe('');
    expect(result?.state).toBe('passed');
  });

  test('hides the whole start of its sandbox: its first command waits for no part of it', async () => {
    const of = (turn: number, thinks: boolean): number =>
      median(
        model.calls.filter((call) => call.turn === turn && (call.thinksMs ?? 0) > 0 === thinks).map(({ ms }) => ms),
      );
    const startMs = median(await starts());
    const hidden = { firstMs: of(0, true), secondMs: of(1, true) };
    const shown = { firstMs: of(0, false), secondMs: of(1, false) };
    console.info(`a start ${startMs}; first and second command: ${JSON.stringify({ hidden, shown })}`);
    // What the first has more is what its client asks for before it: a look, a token, and a command of its own.
    expect(hidden.firstMs - hidden.secondMs).toBeLessThan(startMs);
    // And the measure sees a start that nothing hides, where it is longer than a create is held for.
    if (startMs > 2 * holdCreateMs) expect(shown.firstMs).toBeGreaterThan(hidden.firstMs);
  });
});
