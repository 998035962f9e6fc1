/**
 * Three generations of the official Prime clients, unmodified, against a real service: see `checks/` for what they do.
 * Each runs over every wire that it supports.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startStack, type TestStack } from '../../helpers/stack.ts';
import { checksIn, CheckRun, clientEnvironment, program, testImage } from './clients.ts';

const LIMIT_MS = 400_000;
const COMMON = ['commands.py', 'sandboxes.py'];
/** Runs next to the others: it spends nearly all of its time waiting. */
const WAITS = 'waits.py';
/**
 * A shorter lifetime than the client's own renewal margin would be useless; with this one it renews every ten seconds.
 */
const TOKEN_TTL_MS = '70000';
/** Names for the test image: a complete one, and one whose remainder is substituted. */
const [HEAD, REST] = [testImage().slice(0, 3), testImage().slice(3)];
const SHORT_NAMES = ['short/python:1', `team-1/${REST}`];
const IMAGE_MAP = `${SHORT_NAMES[0]}=${testImage()} team-1/*=${HEAD}*`;
/** Nothing listens at the second. */
const IMAGE_ALLOW = `${testImage()} 127.0.0.1:1/*`;
/** Below the ports that tests use for their own servers. */
const TCP_PORTS = '19000-19099';

interface Client {
  venv: string;
  wire: string;
  also?: string[];
  env?: Record<string, string>;
}

const CLIENTS: Client[] = [
  { venv: '0.2.36', wire: 'json' },
  // As against a server without batch endpoints; the same release over the other wire has them.
  { venv: '0.2.39', wire: 'json', env: { BATCH_ENDPOINTS: 'off', SILENT_SECONDS: '100' } },
  { venv: '0.2.39', wire: 'connect', also: ['processes.py'] },
  { venv: 'newest', wire: '', also: ['processes.py', 'cuts.py'] },
];

const clients = CLIENTS.map((client) => ({
  ...client,
  files: [WAITS, ...COMMON, ...(client.also ?? [])],
  python: program(client.venv),
  runs: new Map<string, CheckRun>(),
}));
let stack: TestStack | undefined;
let work: Promise<unknown> = Promise.resolve();

beforeAll(async () => {
  if (clients.every(({ python }) => python === undefined)) return;
  const running = await startStack({
    pool: 2,
    gatewayEnv: {
      MILLIBOX_PRIME_NETWORK: 'off',
      MILLIBOX_PRIME_TOKEN_TTL_MS: TOKEN_TTL_MS,
      MILLIBOX_PRIME_TCP_PORTS: TCP_PORTS,
      MILLIBOX_PRIME_IMAGE_MAP: IMAGE_MAP,
      MILLIBOX_PRIME_IMAGE_ALLOW: IMAGE_ALLOW,
    },
  });
  stack = running;
  for (const { venv, wire, files, env: own, python, runs } of clients) {
    if (python === undefined) continue;
    const env = {
      ...clientEnvironment(running, `${venv}-${wire}`),
      WIRE: wire,
      SHORT_NAMES: SHORT_NAMES.join(' '),
      ...own,
    };
    for (const file of files) runs.set(file, new CheckRun({ python, file, env }));
  }
  // The clients run in parallel, each client's files in sequence: much of the time is spent waiting.
  work = Promise.all(
    clients.map(async ({ runs }) => {
      const waiting = runs.get(WAITS)?.run();
      for (const [file, run] of runs) if (file !== WAITS) await run.run();
      await waiting;
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
