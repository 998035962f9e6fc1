/**
 * What the first command of a rollout waits for, in an evaluation of `verifiers` whose sandboxes start cold. Measured at
 * the model, from the call that it has sent to the request that brings the result, and before the gateway.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DEFAULT_PRIME_CONFIG } from '../../../src/gateway/doors/prime/config.ts';
import { HttpRecorder } from '../../helpers/http-recorder.ts';
import { startStack, type TestStack } from '../../helpers/stack.ts';
import { checksIn, CheckRun, clientEnvironment, program } from './clients.ts';
import { ScriptedModel, type Call } from './scripted-model.ts';

const LIMIT_MS = 300_000;
const { holdCreateMs } = DEFAULT_PRIME_CONFIG;
const FILE = 'overlap.py';
const python = program('verifiers-legacy');
let stack: TestStack;
let door: HttpRecorder;
let model: ScriptedModel;
let run: CheckRun | undefined;
let work: Promise<void> = Promise.resolve();

beforeAll(async () => {
  if (python === undefined) return;
  // The slowest start there is: with none that wait, of the runtime that takes longest.
  stack = await startStack({ runtime: 'docker', pool: 0, gatewayEnv: { MILLIBOX_PRIME_NETWORK: 'off' } });
  door = await HttpRecorder.start(stack.url);
  model = await ScriptedModel.start();
  const client = { ...clientEnvironment(stack, 'overlap'), PRIME_API_BASE_URL: door.url };
  const env = { ...client, MODEL_URL: model.url, HF_HUB_OFFLINE: '1' };
  run = new CheckRun({ python, file: FILE, env });
  work = run.run();
});
afterAll(async () => {
  run?.stop();
  await work;
  await model?.[Symbol.asyncDispose]();
  await door?.[Symbol.asyncDispose]();
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

/** Calls of a turn in rollouts whose first turn took its time, or of those whose did not. */
const callsOf = (turn: number, thinks: boolean): Call[] =>
  model.calls.filter((call) => call.turn === turn && (call.thinksMs ?? 0) > 0 === thinks);

const tookMs = (calls: Call[]): number => median(calls.map(({ ms }) => ms));

/** What a client asks for; the path of each ends like this. */
const PATHS = { token: /\/auth$/, exec: /\/exec$/, look: /\/sandbox\/[^/?]+$/ };

interface Asked {
  kind: string;
  ms: number;
}

/** What the client asked for under a call of a tool, in order, and how long each answer took. */
function asked(call: Call): Asked[] {
  const within = door.requests.filter(({ beganAt }) => beganAt >= call.sentAt && beganAt <= call.sentAt + call.ms);
  const all = within.map(({ method, path, beganAt, endedAt }) => {
    const [kind = `${method} ${path}`] = Object.entries(PATHS).find(([, ends]) => ends.test(path)) ?? [];
    return { kind, ms: endedAt - beganAt };
  });
  const own = all.findLast(({ kind }) => kind === 'exec');
  // Any exec before the tool's own is the client's: it tries the sandbox before it hands it on.
  return all.map((each) => (each.kind === 'exec' && each !== own ? { ...each, kind: 'probe' } : each));
}

/** For each kind the milliseconds of a call that has it, in the middle. */
function mediansOf(calls: Asked[][]): Record<string, number> {
  const byKind = Object.groupBy(calls.flat(), ({ kind }) => kind);
  return Object.fromEntries(Object.entries(byKind).map(([kind, all = []]) => [kind, median(all.map(({ ms }) => ms))]));
}

describe.skipIf(python === undefined)('a model whose first turn takes a second', () => {
  test.for(checksIn(FILE))('%s', { timeout: LIMIT_MS }, async (name) => {
    const result = await run?.result(name);
    expect(result?.message ?? '').toBe('');
    expect(result?.state).toBe('passed');
  });

  test('asks for nothing under its first command but its state, tokens, the probe of its client and its own exec', () => {
    const first = callsOf(0, true).map(asked);
    expect(first.length).toBeGreaterThan(0);
    for (const requests of first) {
      const kinds = requests.map(({ kind }) => kind);
      // A client that finds its sandbox not yet running looks again: one look is one that waited for nothing.
      expect(kinds.filter((kind) => kind !== 'token')).toEqual(['look', 'probe', 'exec']);
    }
    console.info(`under a first command, medians: ${JSON.stringify(mediansOf(first))}`);
  });

  test('hides the whole start of its sandbox: its first command waits for no part of it', async () => {
    const startMs = median(await starts());
    const hidden = { firstMs: tookMs(callsOf(0, true)), secondMs: tookMs(callsOf(1, true)) };
    const shown = { firstMs: tookMs(callsOf(0, false)), secondMs: tookMs(callsOf(1, false)) };
    console.info(`a start ${startMs}; first and second command: ${JSON.stringify({ hidden, shown })}`);
    // What the first has more is what its client asks for before it: a look, a token, and a command of its own.
    expect(hidden.firstMs - hidden.secondMs).toBeLessThan(startMs);
    // And the measure sees a start that nothing hides, where it is longer than a create is held for.
    if (startMs > 2 * holdCreateMs) expect(shown.firstMs).toBeGreaterThan(hidden.firstMs);
  });
});
