/** The promises in the SDK's documentation, tested the way its readers would. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MilliboxError, type Sandbox } from '../../src/sdk/index.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';
import { until } from '../helpers/until.ts';

let stack: TestStack;
let sandbox: Sandbox;
beforeAll(async () => {
  stack = await startStack({ pool: 2 });
  sandbox = await stack.client.sandboxes.create({ timeoutMs: 3_600_000 });
});
afterAll(() => stack?.stop());

test('a preview opens a port to anyone with its address, for the requested time', async () => {
  await sandbox.files.write('/srv/hello.txt', 'hello');
  const server = await sandbox.jobs.start('cd /srv && exec python3 -m http.server 8000 --bind 127.0.0.1');
  await until(
    async () => {
      try {
        (await sandbox.ports.connect(8000)).destroy();
        return true;
      } catch (error) {
        if (error instanceof MilliboxError && error.code === 'port_refused') return false;
        throw error;
      }
    },
    60_000,
    'the server to listen',
  );
  const { url, expiresAt } = await sandbox.ports.preview(8000, { expiresInMs: 600_000 });
  expect(Date.parse(expiresAt)).toBeGreaterThan(Date.now());
  const answer = await fetch(new URL(`hello.txt${new URL(url).search}`, url));
  expect([answer.status, await answer.text()]).toEqual([200, 'hello']);
  await expect(sandbox.ports.preview(70_000)).rejects.toMatchObject({ code: 'invalid_request' });
  await server.kill();
});

describe('an exec with an id chosen by its caller', () => {
  test('runs once, even if requested again after its end, at the same time, and by another client', async () => {
    const command = 'echo ran >> /tmp/runs; echo out; exit 4';
    const id = 'step-1';
    for (let i = 0; i < 2; i++) {
      expect(await sandbox.exec(command, { id })).toMatchObject({ exitCode: 4, stdout: 'out\n', execId: id });
    }
    const other = stack.newClient();
    expect(await other.sandboxes.at(sandbox.id).exec(command, { id })).toMatchObject({ exitCode: 4, stdout: 'out\n' });
    await other.close();
    expect((await sandbox.exec('cat /tmp/runs')).stdout).toBe('ran\n');
  });

  test('stays one run even if an attached reader took its exit first', async () => {
    const command = 'echo ran >> /tmp/attached; read line; echo $line; until [ -e /tmp/go ]; do sleep 0.05; done';
    const first = sandbox.exec(command, { id: 'step-2', stdin: true });
    await first.started;
    await first.write('hello\n');
    const second = sandbox.attach('step-2');
    await expect(first).rejects.toMatchObject({ code: 'cancelled' });
    await sandbox.exec('touch /tmp/go');
    expect((await second).stdout).toBe('hello\n');
    expect((await sandbox.exec(command, { id: 'step-2', stdin: true })).stdout).toBe('hello\n');
    expect((await sandbox.exec('cat /tmp/attached')).stdout).toBe('ran\n');
  });

  test('is refused for a different command', async () => {
    await sandbox.exec('true', { id: 'step-3' });
    await expect(sandbox.exec('false', { id: 'step-3' })).rejects.toMatchObject({ code: 'idempotency_conflict' });
  });

  test('reports lost output', async () => {
    const command = 'head -c 3000000 /dev/zero';
    const first = await sandbox.exec(command, { id: 'step-4', encoding: 'bytes' });
    expect(first.stdout.length).toBe(3_000_000);
    const again = await sandbox.exec(command, { id: 'step-4', encoding: 'bytes' });
    expect(again).toMatchObject({ stdoutBytes: 3_000_000, truncated: { stdout: true } });
    expect(again.stdout.length).toBeLessThan(3_000_000);
  });
});
