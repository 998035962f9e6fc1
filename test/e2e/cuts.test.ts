/**
 * Every link of the way is cut at random bytes while commands stream: between client and gateway, gateway and agent,
 * agent and boxinit. Every byte is exact, every exit right, and nothing runs twice.
 *
 * MILLIBOX_TEST_CUTS says how often in all, MILLIBOX_TEST_SEED repeats a choice of places.
 */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Agent, request } from 'undici';
import { freePort } from '../../src/cli/up/ports.ts';
import { Millibox, type Sandbox } from '../../src/sdk/index.ts';
import { amount } from '../helpers/config.ts';
import { CutProxy, type Cut } from '../helpers/cut-proxy.ts';
import { random, type Random } from '../helpers/random.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';
import { tapBoxinit } from '../helpers/tap.ts';

const CUTS = amount('MILLIBOX_TEST_CUTS', 150);
const SEED = amount('MILLIBOX_TEST_SEED', Date.now() % 1_000_000_000);
const LIMIT_MS = 1_500_000;
/** Longer than any trouble here: what is tried is that nothing is lost, not when one gives up. */
const PATIENT_MS = 300_000;
const RING_BYTES = 4 * 1024 * 1024;

/** Marks that it ran, then sends its input back and the digest of it on stderr. */
const ECHO = `
import hashlib, os, sys
os.write(os.open("/tmp/runs", os.O_WRONLY | os.O_APPEND | os.O_CREAT), (sys.argv[1] + "\\n").encode())
digest = hashlib.sha256()
while True:
    block = os.read(0, 30000)
    if not block: break
    digest.update(block)
    while block: block = block[os.write(1, block):]
os.write(2, digest.hexdigest().encode())
sys.exit(int(sys.argv[2]))
`;
/** Marks that it ran, then writes so many lines of numbers. */
const COUNT = `echo $1 >> /tmp/runs; seq 1 $2; echo end >&2; exit $3`;

let stack: TestStack;
let sandbox: Sandbox;
let proxies: { client: CutProxy; node: CutProxy; boxinit: CutProxy };

/** Each link is cut until it has had its third; none before the service is there. */
let cutting = false;
function planFor(link: keyof typeof proxies): () => Cut | null {
  const choice = random(SEED + link.length);
  return () => {
    if (!cutting || proxies[link].cuts >= CUTS / 3) return null;
    // Some within greetings, most within what streams.
    const afterBytes = choice.next() < 0.2 ? choice.between(1, 3_000) : choice.between(3_000, 300_000);
    return { afterBytes, abrupt: choice.next() < 0.5 };
  };
}

beforeAll(async () => {
  const port = await freePort();
  const node = await CutProxy.listen({ target: { port, host: '127.0.0.1' }, plan: planFor('node') });
  stack = await startStack({
    pool: 1,
    agentPorts: [port],
    gatewayEnv: {
      MILLIBOX_NODES: `node-1=ws://127.0.0.1:${node.port}`,
      MILLIBOX_NODE_GRACE_MS: String(PATIENT_MS),
      MILLIBOX_LINK_PATIENCE_MS: String(PATIENT_MS),
      MILLIBOX_RESUME_MS: String(PATIENT_MS),
    },
  });
  const target = { port: Number(new URL(stack.url).port), host: '127.0.0.1' };
  const client = await CutProxy.listen({ target, plan: planFor('client') });
  sandbox = await stack.client.sandboxes.create({ memoryMb: 1024, timeoutMs: 3_600_000 });
  await sandbox.ready();
  proxies = { client, node, boxinit: await tapBoxinit(stack, planFor('boxinit')) };
});
afterAll(async () => {
  cutting = false;
  for (const proxy of Object.values(proxies ?? {})) await proxy[Symbol.asyncDispose]();
  await stack?.stop();
});

test(
  `${CUTS} cuts at random bytes cost no byte and no exit, and nothing runs twice`,
  { timeout: LIMIT_MS },
  async () => {
    const url = `http://127.0.0.1:${proxies.client.port}`;
    await using client = new Millibox({ url, apiKey: stack.apiKey, resumeMs: PATIENT_MS, patienceMs: PATIENT_MS });
    const same = await client.sandboxes.get(sandbox.id);
    const ran: string[] = [];
    const until = performance.now() + LIMIT_MS - 120_000;
    const wanted = (): boolean => Object.values(proxies).some(({ cuts }) => cuts < CUTS / 3);
    const again = async (worker: number, one: (name: string, choice: Random) => Promise<void>): Promise<void> => {
      const choice = random(SEED * 31 + worker);
      for (let i = 0; wanted(); i++) {
        if (performance.now() > until) throw new Error('not enough cuts in time');
        const name = `run-${worker}-${i}`;
        await one(name, choice);
        ran.push(name);
      }
    };
    // The links that are there are not cut: the first to be cut are the next.
    cutting = true;
    await reconnectAll();
    try {
      await Promise.all([
        ...[0, 1, 2].map((worker) => again(worker, (name, choice) => echo(same, name, choice))),
        ...[3, 4].map((worker) => again(worker, (name, choice) => count(same, name, choice))),
        again(5, (name, choice) => blocking(url, name, choice)),
      ]);
    } catch (error) {
      throw new Error(`with MILLIBOX_TEST_SEED=${SEED}, after ${JSON.stringify(cutsSoFar())}: ${String(error)}`, {
        cause: error,
      });
    }
    cutting = false;
    const { stdout } = await sandbox.exec('cat /tmp/runs', { maxOutputBytes: 64_000_000 });
    expect(stdout.trimEnd().split('\n').toSorted()).toEqual(ran.toSorted());
    console.info(`cuts ${JSON.stringify(cutsSoFar())}, ${ran.length} commands, seed ${SEED}`);
  },
);

const cutsSoFar = (): Record<string, number> =>
  Object.fromEntries(Object.entries(proxies).map(([link, { cuts }]) => [link, cuts]));

/** Input and output at once, as a stream of the SDK. */
async function echo(same: Sandbox, name: string, choice: Random): Promise<void> {
  const input = choice.bytes(choice.between(50_000, 800_000));
  const exitCode = choice.between(0, 100);
  const result = await same.exec(['python3', '-c', ECHO, name, String(exitCode)], {
    encoding: 'bytes',
    stdin: input,
    ringBytes: RING_BYTES,
    detachedMs: PATIENT_MS,
  });
  check(name, result.stdout, input, result.exitCode, exitCode);
  expect(result.stderr.toString(), name).toBe(createHash('sha256').update(input).digest('hex'));
  expect(result.truncated, name).toEqual({ stdout: false, stderr: false });
}

/** Output only, no more than the service keeps for somebody who is away. */
async function count(same: Sandbox, name: string, choice: Random): Promise<void> {
  const lines = choice.between(1_000, 120_000);
  const exitCode = choice.between(0, 100);
  const chunks: Buffer[] = [];
  const exec = same.exec(['sh', '-c', COUNT, 'sh', name, String(lines), String(exitCode)], {
    encoding: 'bytes',
    detachedMs: PATIENT_MS,
  });
  let ended: number | undefined;
  for await (const event of exec) {
    if (event.type === 'stdout') chunks.push(event.data);
    if (event.type === 'output_lost') throw new Error(`${name} lost ${event.from} to ${event.to}`);
    if (event.type === 'exit') ended = event.exitCode;
  }
  const expected = Buffer.from(Array.from({ length: lines }, (_, i) => `${i + 1}\n`).join(''));
  check(name, Buffer.concat(chunks), expected, ended, exitCode);
}

/** One HTTP call under a key, asked again as long as its answer does not come. */
async function blocking(url: string, name: string, choice: Random): Promise<void> {
  const input = choice.bytes(choice.between(1_000, 60_000));
  const exitCode = choice.between(0, 100);
  const body = JSON.stringify({
    argv: ['python3', '-c', ECHO, name, String(exitCode)],
    stdin: input.toString('base64'),
    encoding: 'base64',
  });
  for (let tries = 1; ; tries++) {
    // A connection of its own each time: so that each can be cut.
    await using dispatcher = new OneCall();
    try {
      const answer = await request(`${url}/v1/sandboxes/${sandbox.id}/exec`, {
        dispatcher: dispatcher.agent,
        method: 'POST',
        headers: {
          authorization: `Bearer ${stack.apiKey}`,
          'content-type': 'application/json',
          'idempotency-key': name,
        },
        body,
      });
      const text = await answer.body.text();
      if (answer.statusCode !== 200) throw new Error(`${answer.statusCode} ${text}`);
      const result = JSON.parse(text) as { stdout: string; stderr: string; exitCode: number };
      check(name, Buffer.from(result.stdout, 'base64'), input, result.exitCode, exitCode);
      const digest = createHash('sha256').update(input).digest('hex');
      expect(Buffer.from(result.stderr, 'base64').toString(), name).toBe(digest);
      return;
    } catch (error) {
      const cut = /ECONNRESET|UND_ERR|other side closed|aborted|terminated|"interrupted"/;
      if (tries > 200 || !cut.test(`${String((error as { code?: unknown }).code)} ${String(error)}`)) throw error;
    }
  }
}

class OneCall implements AsyncDisposable {
  readonly agent = new Agent({ connections: 1, headersTimeout: 0, bodyTimeout: 0 });

  async [Symbol.asyncDispose](): Promise<void> {
    await this.agent.destroy();
  }
}

function check(name: string, got: Buffer, expected: Buffer, exit: number | undefined, expectedExit: number): void {
  if (!got.equals(expected)) {
    let at = 0;
    while (at < got.length && got[at] === expected[at]) at += 1;
    throw new Error(`${name}: ${got.length} bytes for ${expected.length}, different from byte ${at} on`);
  }
  expect(exit, name).toBe(expectedExit);
}

/** What was connected before cutting began is hung up once. */
async function reconnectAll(): Promise<void> {
  for (const proxy of Object.values(proxies)) proxy.hangUp();
  await stack.ready();
}
