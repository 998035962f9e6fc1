/** An upgrade as done by an operator: the parts are stopped one by one, and replaced, under load. */
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { request } from 'undici';
import { Millibox, type Sandbox } from '../../src/sdk/index.ts';
import { sandboxesOn } from '../helpers/sandboxes-on.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';

const LIMIT_MS = 300_000;
const SANDBOXES = 4;
const PAUSE_MS = 50;
const LINES = 30;
/** Prints this many lines within about two seconds. */
const STREAM = `i=0; while [ $i -lt ${LINES} ]; do echo "line $i of the stream"; i=$((i+1)); sleep 0.06; done; exit 5`;
const STREAMED = Array.from({ length: LINES }, (_, i) => `line ${i} of the stream\n`).join('');

/** Writes far more than all buffers in between hold, as fast as it is read. */
const BULK_BYTES = 100_000_000;
const BULK = `seq 1 100000000 | head -c ${BULK_BYTES}; exit 6`;

let stack: TestStack;
const clients: Millibox[] = [];
beforeAll(async () => {
  stack = await startStack({
    gateways: 2,
    agents: 2,
    pool: 3,
    agentEnv: { MILLIBOX_ON_STOP: 'keep' },
    gatewayEnv: { MILLIBOX_DRAIN_MS: '1000', MILLIBOX_REUSE_PORT: '1' },
  });
}, LIMIT_MS);
afterAll(async () => {
  for (const client of clients) await client.close();
  await stack?.stop();
}, LIMIT_MS);

/** A client that knows all gateways and starts with this one. */
function clientAt(url: string): Millibox {
  for (;;) {
    const client = stack.newClient();
    if (client.url === url) {
      clients.push(client);
      return client;
    }
    void client.close();
  }
}

/** Runs commands one after the other, each of which leaves a trace. Resolves with their number. */
async function shortCommands(sandbox: Sandbox, on: () => boolean): Promise<number> {
  let n = 0;
  for (; on(); n++) {
    const { exitCode, stdout } = await sandbox.exec(`echo ${n} >> /tmp/trace; echo said ${n}; exit 3`);
    expect({ exitCode, stdout }).toEqual({ exitCode: 3, stdout: `said ${n}\n` });
    await sleep(PAUSE_MS);
  }
  return n;
}

/** Writes files and reads them back, one after the other. Resolves with their number. */
async function files(sandbox: Sandbox, on: () => boolean): Promise<number> {
  let n = 0;
  for (; on(); n++) {
    const bytes = Buffer.alloc(300_000, `file ${n} `);
    await sandbox.files.write('/tmp/file', bytes);
    expect((await sandbox.files.read('/tmp/file')).equals(bytes)).toBe(true);
    await sleep(PAUSE_MS);
  }
  return n;
}

/** Runs streams one after the other. Resolves with their number. */
async function streams(sandbox: Sandbox, on: () => boolean): Promise<number> {
  let n = 0;
  for (; on(); n++) {
    let heard = '';
    for await (const event of sandbox.exec(STREAM)) {
      if (event.type === 'stdout') heard += event.data;
      if (event.type === 'exit') expect(event.exitCode).toBe(5);
    }
    expect(heard).toBe(STREAMED);
  }
  return n;
}

/**
 * Runs commands over plain HTTP, each with an idempotency key, retried as the answer says. Every request has its own
 * connection. Resolves with their number.
 */
async function httpCommands(sandbox: string, on: () => boolean): Promise<number> {
  let n = 0;
  for (; on(); n++) {
    const answer = await httpCommand(sandbox, n);
    expect(answer).toMatchObject({ exitCode: 3, stdout: `said ${n}\n` });
    await sleep(PAUSE_MS);
  }
  return n;
}

async function httpCommand(sandbox: string, n: number): Promise<unknown> {
  const end = performance.now() + LIMIT_MS;
  for (;;) {
    const response = await request(`${stack.url}/v1/sandboxes/${sandbox}/exec`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${stack.apiKey}`,
        'content-type': 'application/json',
        'idempotency-key': `command ${n}`.replace(' ', '-'),
        connection: 'close',
      },
      body: JSON.stringify({ command: `echo ${n} >> /tmp/posted; sleep 0.3; echo said ${n}; exit 3` }),
    }).catch((error: unknown) => ({ error }));
    if ('error' in response) {
      if (performance.now() > end) throw response.error;
    } else {
      const body = (await response.body.json()) as { error?: { retryable: boolean } };
      if (body.error === undefined || !body.error.retryable) return body;
    }
    await sleep(PAUSE_MS);
  }
}

/** Creates sandboxes, uses each once and deletes it, one after the other. Resolves with their number. */
async function lives(client: Millibox, on: () => boolean): Promise<number> {
  let n = 0;
  for (; on(); n++) {
    const sandbox = await client.sandboxes.create({ memoryMb: 64 });
    expect((await sandbox.exec(`echo ${n}`)).stdout).toBe(`${n}\n`);
    await sandbox.delete();
    await sleep(PAUSE_MS);
  }
  return n;
}

/** The digest of BULK's output. */
function bulkDigest(): string {
  const digest = createHash('sha256');
  let left = BULK_BYTES;
  for (let from = 1; left > 0; from += 10_000) {
    const text = Array.from({ length: 10_000 }, (_, i) => `${from + i}\n`).join('');
    digest.update(text.slice(0, left));
    left -= Math.min(left, text.length);
  }
  return digest.digest('hex');
}

/** Runs commands that write a lot, read slowly enough for one to span a replacement. Resolves with their number. */
async function bulk(sandbox: Sandbox, expected: string, on: () => boolean): Promise<number> {
  let n = 0;
  for (; on(); n++) {
    const digest = createHash('sha256');
    let bytes = 0;
    let pausedAt = 0;
    for await (const event of sandbox.exec(BULK, { encoding: 'bytes' })) {
      if (event.type === 'stdout') {
        digest.update(event.data);
        bytes += event.data.length;
      } else if (event.type === 'exit') expect(event.exitCode).toBe(6);
      else throw new Error(`not expected: ${JSON.stringify(event)}`);
      if (bytes - pausedAt > 3_000_000 && on()) {
        pausedAt = bytes;
        await sleep(PAUSE_MS);
      }
    }
    expect(bytes).toBe(BULK_BYTES);
    expect(digest.digest('hex')).toBe(expected);
  }
  return n;
}

test(
  'gateways and agents are replaced in turn: no command fails, none runs twice, no byte is lost',
  { timeout: LIMIT_MS },
  async () => {
    const at = stack.urls.map((url) => clientAt(url));
    const made: Sandbox[] = [];
    for (const [i, node] of ['node-1', 'node-2'].entries()) {
      made.push(...(await sandboxesOn(stack, node, SANDBOXES / 2, at[i])));
    }

    // Over plain HTTP these know the first gateway only, and retry until it is back.
    const posting = [made[0], made.at(-1)] as Sandbox[];
    let going = true;
    const on = (): boolean => going;
    const digest = bulkDigest();
    const load = Promise.all([
      ...made.map(
        async (sandbox) => await Promise.all([shortCommands(sandbox, on), streams(sandbox, on), files(sandbox, on)]),
      ),
      ...at.map(async (client) => [await lives(client, on), 1]),
      ...posting.map(async ({ id }) => [await httpCommands(id, on), 1]),
      // One on each node.
      ...[made[0], made.at(-1)].map(async (sandbox) => [await bulk(sandbox as Sandbox, digest, on), 1]),
    ]);
    // A failure ends the replacements early.
    let failed = false;
    load.catch(() => (failed = true));
    const replace = async (end: () => Promise<void>, begin: () => void): Promise<void> => {
      if (failed) return;
      await end();
      begin();
      await stack.ready();
      // Some load on the new parts.
      await sleep(500);
    };
    for (const i of [0, 1]) {
      await replace(
        () => stack.killGateway('SIGTERM', i),
        () => stack.restartGateway(i),
      );
    }
    for (const i of [0, 1]) {
      await replace(
        () => stack.killAgent(i, 'SIGTERM'),
        () => stack.restartAgent(i),
      );
    }
    going = false;
    const counts = await load;

    for (const sandbox of posting) {
      const lines = (await sandbox.exec('cat /tmp/posted')).stdout.trimEnd().split('\n');
      expect(lines).toEqual(lines.map((_, n) => String(n)));
    }
    for (const [i, sandbox] of made.entries()) {
      const [ran = 0, streamed = 0] = counts[i] ?? [];
      expect(ran).toBeGreaterThan(5);
      expect(streamed).toBeGreaterThan(0);
      const { stdout } = await sandbox.exec('cat /tmp/trace');
      // Each once and in order.
      expect(stdout).toBe(Array.from({ length: ran }, (_, n) => `${n}\n`).join(''));
      expect((await sandbox.refresh()).status).toBe('RUNNING');
    }
  },
);

test(
  'a gateway whose successor listens on its port already goes without anybody noticing',
  { timeout: LIMIT_MS },
  async () => {
    const client = new Millibox({ url: stack.url, apiKey: stack.apiKey });
    clients.push(client);
    const [sandbox] = (await sandboxesOn(stack, 'node-1', 1, client)) as [Sandbox];
    let going = true;
    const on = (): boolean => going;
    const load = Promise.all([shortCommands(sandbox, on), streams(sandbox, on), httpCommands(sandbox.id, on)]);
    await stack.succeedGateway();
    await stack.ready();
    await sleep(500);
    going = false;
    const [ran, streamed, posted] = await load;
    expect(Math.min(ran, streamed, posted)).toBeGreaterThan(0);
    const { stdout } = await sandbox.exec('cat /tmp/trace /tmp/posted');
    const each = (count: number): string => Array.from({ length: count }, (_, n) => `${n}\n`).join('');
    expect(stdout).toBe(each(ran) + each(posted));
  },
);
