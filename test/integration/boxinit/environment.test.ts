/** Names of environment variables arrive unchanged, whatever they mean to JavaScript. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Sandbox } from '../../../src/sdk/index.ts';
import { startStack, type TestStack } from '../../helpers/stack.ts';

const LIMIT_MS = 180_000;
/** As own properties: JSON.parse creates them, an object literal would not. */
const ODD = JSON.parse('{"__proto__":"1","constructor":"2","toString":"3","A B":"4","é":"5"}') as Record<
  string,
  string
>;
const LIST = ['python3', '-c', 'import os, json; print(json.dumps(dict(os.environ)))'];

let stack: TestStack;
let sandbox: Sandbox;
beforeAll(async () => {
  stack = await startStack({ pool: 1 });
  sandbox = await stack.client.sandboxes.create({ memoryMb: 64 });
}, LIMIT_MS);
afterAll(() => stack?.stop(), LIMIT_MS);

const expectOdd = (stdout: string): void => {
  const seen = new Map(Object.entries(JSON.parse(stdout) as object));
  for (const [name, value] of Object.entries(ODD)) expect([name, seen.get(name)]).toEqual([name, value]);
};

async function rest(path: string, body: object): Promise<Record<string, unknown>> {
  const headers = { authorization: `Bearer ${stack.apiKey}`, 'content-type': 'application/json' };
  const answer = await fetch(`${stack.url}${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
  expect(answer.ok).toBe(true);
  return (await answer.json()) as Record<string, unknown>;
}

test('of an exec, over the SDK', async () => {
  expectOdd((await sandbox.exec(LIST, { env: ODD, check: true })).stdout);
});

test('of an exec, over REST', async () => {
  expectOdd(String((await rest(`/v1/sandboxes/${sandbox.id}/exec`, { argv: LIST, env: ODD }))['stdout']));
});

test('of a job', async () => {
  const job = await sandbox.exec(LIST, { env: ODD, background: true });
  await job.wait();
  expectOdd((await job.output('stdout')).toString());
});

test('of a sandbox, and of its secrets', async () => {
  const { id } = await rest('/v1/sandboxes', { env: ODD, memoryMb: 64 });
  expectOdd(String((await rest(`/v1/sandboxes/${String(id)}/exec`, { argv: LIST }))['stdout']));
  const secret = await stack.client.sandboxes.create({ secrets: ODD, memoryMb: 64 });
  expectOdd((await secret.exec(LIST, { check: true })).stdout);
  await secret.delete();
});
