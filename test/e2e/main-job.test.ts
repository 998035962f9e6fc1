/** The main job, end to end: gateway and agent as separate processes, a real engine, real containers. */
import { request } from 'undici';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { MilliboxError } from '../../src/sdk/index.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';

let stack: TestStack;
beforeAll(async () => {
  stack = await startStack({ pool: 2 });
});
afterAll(() => stack?.stop());

test('a sandbox is created, runs a Python program, and is deleted', async () => {
  const sandbox = stack.client.sandboxes.create({ labels: { test: 'main-job' } });
  const result = await sandbox.exec(['python3', '-c', 'import sys; print(6 * 7); print("bad", file=sys.stderr)']);
  expect(result).toMatchObject({ exitCode: 0, signal: null, stdout: '42\n', stderr: 'bad\n', timedOut: false });
  expect(result.truncated).toEqual({ stdout: false, stderr: false });

  const info = await sandbox.refresh();
  expect(info).toMatchObject({ status: 'RUNNING', reason: null, node: 'node-1', labels: { test: 'main-job' } });
  expect(Date.parse(info.createdAt)).toBeLessThanOrEqual(Date.now());

  expect(await sandbox.delete()).toMatchObject({ status: 'TERMINATED', reason: 'deleted' });
  // Ended sandboxes stay known for an hour, with the reason.
  expect(await sandbox.refresh()).toMatchObject({ status: 'TERMINATED', reason: 'deleted' });
  await expect(sandbox.exec('true').result).rejects.toMatchObject({ code: 'sandbox_ended' });
});

test('create answers before the container exists, and an exec given at once waits for it', async () => {
  const sandboxes = Array.from({ length: 6 }, () => stack.client.sandboxes.create());
  const results = await Promise.all(sandboxes.map((sandbox, i) => sandbox.exec(`echo ${i}`)));
  expect(results.map(({ stdout }) => stdout)).toEqual(sandboxes.map((_, i) => `${i}\n`));
  await Promise.all(sandboxes.map((sandbox) => sandbox.delete()));
});

test('createMany returns distinct handles, and delete by label ends them all', async () => {
  const sandboxes = stack.client.sandboxes.createMany(5, { labels: { batch: 'five' } });
  const ids = await Promise.all(sandboxes.map(async (sandbox) => (await sandbox.created()).id));
  expect(new Set(ids).size).toBe(5);
  const listed: string[] = [];
  for await (const { id } of stack.client.sandboxes.list({ labels: { batch: 'five' }, pageSize: 2 })) listed.push(id);
  expect(listed.toSorted()).toEqual(ids.toSorted());
  expect(await stack.client.sandboxes.deleteByLabel({ batch: 'five' })).toBe(5);
  for (const sandbox of sandboxes) expect((await sandbox.refresh()).reason).toBe('deleted');
});

test('await using deletes the sandbox at the end of the block', async () => {
  let id: string;
  {
    await using sandbox = await stack.client.sandboxes.create();
    id = sandbox.id;
    expect((await sandbox.exec('echo here')).stdout).toBe('here\n');
  }
  expect((await (await stack.client.sandboxes.get(id)).refresh()).status).toBe('TERMINATED');
});

test('one idempotency key makes one sandbox, however often the create is sent', async () => {
  const key = `key-${Date.now()}`;
  const made = await Promise.all(
    Array.from({ length: 20 }, () => stack.client.sandboxes.create({ idempotencyKey: key, name: 'once' }).created()),
  );
  expect(new Set(made.map(({ id }) => id)).size).toBe(1);
  const other = stack.client.sandboxes.create({ idempotencyKey: key, name: 'changed' });
  await expect(other.created()).rejects.toMatchObject({ code: 'idempotency_conflict' });
  await stack.client.sandboxes.delete((made[0] as { id: string }).id);
});

test('a sandbox ends by itself at the end of its lifetime, and reports it', async () => {
  const sandbox = stack.client.sandboxes.create({ timeoutMs: 3_000 });
  await sandbox.ready();
  const command = sandbox.exec('sleep 600').result;
  await expect(command).rejects.toBeInstanceOf(MilliboxError);
  await expect.poll(async () => (await sandbox.refresh()).status, { timeout: 60_000 }).toBe('TIMEOUT');
  expect((await sandbox.refresh()).reason).toBe('lifetime');
});

test('secrets reach commands and are never shown', async () => {
  const secret = 'hush-8c1f';
  const sandbox = await stack.client.sandboxes.create({ secrets: { TOKEN: secret }, env: { PLAIN: 'seen' } });
  expect((await sandbox.exec('echo $TOKEN $PLAIN')).stdout).toBe(`${secret} seen\n`);
  expect(JSON.stringify(await sandbox.refresh())).not.toContain(secret);
  const listed: unknown[] = [];
  for await (const { info } of stack.client.sandboxes.list()) listed.push(info);
  expect(JSON.stringify(listed)).not.toContain(secret);
  expect(stack.logs()).not.toContain(secret);
  await sandbox.delete();
});

test('health, readiness, metrics and the API description are served', async () => {
  const get = async (path: string): Promise<{ status: number; text: string }> => {
    const answer = await request(`${stack.url}${path}`, { headers: { authorization: `Bearer ${stack.apiKey}` } });
    return { status: answer.statusCode, text: await answer.body.text() };
  };
  expect((await get('/healthz')).status).toBe(200);
  expect((await get('/readyz')).status).toBe(200);
  const metrics = await get('/metrics');
  expect(metrics.status).toBe(200);
  expect(metrics.text).toMatch(/^millibox_\w+/m);
  const api = JSON.parse((await get('/openapi.json')).text) as { paths: Record<string, unknown> };
  expect(Object.keys(api.paths).some((path) => path.startsWith('/v1/sandboxes'))).toBe(true);
});
