/** Tenants on the complete service: quotas, keys that change at SIGHUP, and a batch. */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Millibox, MilliboxError } from '../../src/sdk/index.ts';
import { cli } from '../helpers/cli.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';
import { until } from '../helpers/until.ts';

const LIMIT_MS = 60_000;
const RED_KEY = 'red-key-of-the-tests';
const BLUE_KEY = 'blue-key-of-the-tests';

let dir: string;
let stack: TestStack;
const clients: Millibox[] = [];

const keyOf = (text: string) => ({ sha256: createHash('sha256').update(text).digest('hex') });
const write = (tenants: object): void => writeFileSync(join(dir, 'tenants.json'), JSON.stringify({ tenants }));

function clientOf(apiKey: string): Millibox {
  const client = new Millibox({ url: stack.url, apiKey });
  clients.push(client);
  return client;
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'none';
  } catch (error) {
    return error instanceof MilliboxError ? error.code : String(error);
  }
}

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'tenants-'));
  write({ red: { sandboxes: 4, keys: [keyOf(RED_KEY)] } });
  stack = await startStack({ pool: 2, gatewayEnv: { MILLIBOX_TENANTS_FILE: join(dir, 'tenants.json') } });
});
afterAll(async () => {
  for (const client of clients) await client.close();
  await stack?.stop();
  rmSync(dir, { recursive: true, force: true });
});

test('a batch comes up completely, its tenant can have no more, and a waiting create gets the place that becomes free', async () => {
  const red = clientOf(RED_KEY);
  const batch = red.sandboxes.createMany(4, { memoryMb: 64, labels: { batch: '1' } });
  const outputs = await Promise.all(batch.map(async (sandbox, i) => (await sandbox.exec(`echo ${i}`)).stdout));
  expect(outputs).toEqual(['0\n', '1\n', '2\n', '3\n']);
  expect(await codeOf(red.sandboxes.create({ patienceMs: 0 }).created())).toBe('quota_exceeded');
  // Another tenant is unaffected, and does not see them.
  const own = await stack.client.sandboxes.create({ memoryMb: 64 });
  const [first] = await Promise.all(batch);
  expect(await codeOf(stack.client.sandboxes.get(first?.id ?? ''))).toBe('sandbox_not_found');
  const patient = red.sandboxes.create({ memoryMb: 64, patienceMs: LIMIT_MS });
  await first?.delete();
  expect((await patient.exec('echo patient')).stdout).toBe('patient\n');
  await own.delete();
  expect(await red.sandboxes.deleteByLabel({ batch: '1' })).toBe(3);
  await patient.delete();
});

test('the command line creates many in one call', async () => {
  const args = ['create', '--count', '3', '--memory', '64', '--label', 'cli=1'];
  const { code, stdout, stderr } = await cli({ url: stack.url, apiKey: RED_KEY }, args);
  expect([code, stderr]).toEqual([0, '']);
  expect(new Set(stdout.toString().trim().split('\n')).size).toBe(3);
  expect(await clientOf(RED_KEY).sandboxes.deleteByLabel({ cli: '1' })).toBe(3);
});

test('at SIGHUP the file is reloaded: keys come and go, quotas change, and a broken file changes nothing', async () => {
  const red = clientOf(RED_KEY);
  const blue = clientOf(BLUE_KEY);
  const ask = (client: Millibox): Promise<string> => codeOf(client.sandboxes.list().next());
  expect([await ask(red), await ask(blue)]).toEqual(['none', 'unauthenticated']);
  write({ blue: { sandboxes: 0, keys: [keyOf(BLUE_KEY)] } });
  process.kill(stack.gatewayPid, 'SIGHUP');
  await until(async () => (await ask(blue)) === 'none', LIMIT_MS, 'the new key to be good');
  expect(await ask(red)).toBe('unauthenticated');
  expect(await codeOf(blue.sandboxes.create().created())).toBe('invalid_request');
  write({ blue: { sandboxen: 5 } });
  process.kill(stack.gatewayPid, 'SIGHUP');
  await until(() => stack.logs().includes('stay as they were'), LIMIT_MS, 'the gateway to say that it is wrong');
  expect(stack.logs()).toContain('Unrecognized key');
  expect(await ask(blue)).toBe('none');
});
