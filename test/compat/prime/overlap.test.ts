/**
 * What the first command of a rollout waits for, in a `verifiers` evaluation with cold-started sandboxes. Measured at
 * the model, from the tool call that it sent to the request that brings the result, and in front of the gateway.
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
  // The slowest possible start: without warm containers, on the slowest runtime.
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

/** Time from accepted to running, as reported by the service. */
async function starts(): Promise<number[]> {
  const response = await fetch(`${stack.url}/api/v1/sandbox?labels=overlap&per_page=100`, {
    headers: { authorization: `Bearer ${stack.apiKey}` },
  });
  const { sandboxes } = (await response.json()) as { sandboxes: { createdAt: string; startedAt: string }[] };
  return sandboxes.map(({ createdAt, startedAt }) => Date.parse(startedAt) - Date.parse(createdAt));
}

/** Calls of a turn in rollouts with a slow first turn, or in those without. */
const callsOf = (turn: number, thinks: boolean): Call[] =>
  model.calls.filter((call) => call.turn === turn && (call.thinksMs ?? 0) > 0 === thinks);

const tookMs = (calls: Call[]): number => median(calls.map(({ ms }) => ms));

/** What a client requests, by the end of the path. */
const PATHS = { token: /\/auth$/, exec: /\/exec$/, look: /\/sandbox\/[^/?]+$/ };

interface Asked {
  kind: string;
  ms: number;
}

/** The client's requests during a tool call, in order, and how long each answer took. */
function asked(call: Call): Asked[] {
  const within = door.requests.filter(({ beganAt }) => beganAt >= call.sentAt && beganAt <= call.sentAt + call.ms);
  const all = within.map(({ method, path, beganAt, endedAt }) => {
    const [kind = `${method} ${path}`] = Object.entries(PATHS).find(([, ends]) => ends.test(path)) ?? [];
    return { kind, ms: endedAt - beganAt };
  });
  const own = all.findLast(({ kind }) => kind === 'exec');
  // Any exec before the tool's own is the client's: it tests the sandbox before handing it over.
  return all.map((each) => (each.kind === 'exec' && each !== own ? { ...each, kind: 'probe' } : each));
}

/** For each kind, the median of its milliseconds per call. */
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

  test("requests nothing during its first command but its state, tokens, its client's probe and its own exec", () => {
    const first = callsOf(0, true).map(asked);
    expect(first.length).toBeGreaterThan(0);
    for (const requests of first) {
      const kinds = requests.map(({ kind }) => kind);
      // A client that finds its sandbox not yet running looks again: a single look waited for nothing.
      expect(kinds.filter((kind) => kind !== 'token')).toEqual(['look', 'probe', 'exec']);
    }
    console.info(`under a first command, medians: ${JSON.stringify(mediansOf(first))}`);
  });

  test('hides the whole start of its sandbox: its first command waits for no part of it', async () => {
    const startMs = median(await starts());
    const hidden = { firstMs: tookMs(callsOf(0, true)), secondMs: tookMs(callsOf(1, true)) };
    const shown = { firstMs: tookMs(callsOf(0, false)), secondMs: tookMs(callsOf(1, false)) };
    console.info(`a start ${startMs}; first and second command: ${JSON.stringify({ hidden, shown })}`);
    // The first command's extra time is what its client requests before it: a look, a token, and a probe.
    expect(hidden.firstMs - hidden.secondMs).toBeLessThan(startMs);
    // And the measurement detects a start that nothing hides, if it is longer than a create is held.
    if (startMs > 2 * holdCreateMs) expect(shown.firstMs).toBeGreaterThan(hidden.firstMs);
  });
});
