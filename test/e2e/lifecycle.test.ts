/** Sandboxes from creation to end: claims, deletes, failed images, lists that change while being read. */
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Sandbox } from '../../src/sdk/index.ts';
import { boxinitPid } from '../helpers/host.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';

const LIMIT_MS = 120_000;
let stack: TestStack;
beforeAll(async () => {
  stack = await startStack({ pool: 4 });
});
afterAll(() => stack?.stop());

const create = (options: object = {}) => stack.client.sandboxes.create({ memoryMb: 64, ...options });

describe('claims', () => {
  test('no two sandboxes ever get one container', { timeout: 300_000 }, async () => {
    for (let round = 0; round < 3; round++) {
      const sandboxes = Array.from({ length: 16 }, () => create());
      const ids = await Promise.all(
        sandboxes.map(async (sandbox) => {
          const { id } = await sandbox.created();
          await sandbox.exec(`echo ${id} >> /tmp/owner`, { check: true });
          return id;
        }),
      );
      const read = await Promise.all(sandboxes.map((sandbox) => sandbox.exec('cat /tmp/owner')));
      expect(read.map(({ stdout }) => stdout)).toEqual(ids.map((id) => `${id}\n`));
      expect(new Set(ids).size).toBe(ids.length);
      await Promise.all(sandboxes.map((sandbox) => sandbox.delete()));
    }
  });

  test('RUNNING is reported only when an exec works at that instant', async () => {
    for (let i = 0; i < 12; i++) {
      const sandbox = create();
      await sandbox.ready();
      expect((await sandbox.exec(['true'])).exitCode).toBe(0);
      await sandbox.delete();
    }
  });
});

describe('delete', () => {
  test('right after create, before there is a container, wins', async () => {
    const sandboxes = Array.from({ length: 10 }, () => create());
    const ended = await Promise.all(
      sandboxes.map(async (sandbox) => {
        await sandbox.created();
        return await sandbox.delete();
      }),
    );
    expect(new Set(ended.map(({ status }) => status))).toEqual(new Set(['TERMINATED']));
    for (const sandbox of sandboxes) {
      await expect(sandbox.exec('true').result).rejects.toMatchObject({ code: 'sandbox_ended' });
    }
  });

  test('twice, and ten times at once, returns the same and is no error', async () => {
    const sandbox = create();
    await sandbox.ready();
    const answers = await Promise.all(Array.from({ length: 10 }, () => sandbox.delete()));
    expect(new Set(answers.map(({ reason }) => reason))).toEqual(new Set(['deleted']));
    expect((await sandbox.delete()).reason).toBe('deleted');
  });

  test('of an unknown id is sandbox_not_found', async () => {
    await expect(stack.client.sandboxes.delete('sbx-00000000000000000000')).rejects.toMatchObject({
      code: 'sandbox_not_found',
    });
  });

  test('does not wait for a program that ignores TERM', async () => {
    const stubborn = `trap '' TERM INT HUP; while :; do sleep 1; done`;
    const sandboxes = Array.from({ length: 6 }, () => create({ startCommand: stubborn }));
    await Promise.all(sandboxes.map((sandbox) => sandbox.exec(`${stubborn} & sleep 0.1`, { check: true })));
    const ended = await Promise.all(sandboxes.map((sandbox) => sandbox.delete()));
    expect(new Set(ended.map(({ status }) => status))).toEqual(new Set(['TERMINATED']));
  });
});

describe('unexpected ends', () => {
  test('a sandbox whose container dies fails its running exec with a typed error, and its status agrees', async () => {
    const sandbox = await create();
    const pid = await boxinitPid(sandbox);
    const exec = sandbox.exec('echo up; sleep 600');
    await exec.started;
    process.kill(pid, 'SIGKILL');
    await expect(exec.result).rejects.toMatchObject({ code: expect.stringMatching(/sandbox_ended|interrupted/) });
    await expect.poll(async () => (await sandbox.refresh()).endedAt, { timeout: LIMIT_MS }).not.toBeNull();
    expect((await sandbox.refresh()).status).toBe('ERROR');
    await expect(sandbox.exec('true').result).rejects.toMatchObject({ code: 'sandbox_ended' });
  });

  test('an OOM kill ends the program with 137 and is reported; the sandbox continues', async () => {
    const sandbox = await create({ memoryMb: 96 });
    const result = await sandbox.exec(['python3', '-c', 'x = bytearray(10 ** 9)'], { timeoutMs: LIMIT_MS });
    expect(result).toMatchObject({ exitCode: 137, oomKilled: true });
    expect((await sandbox.exec('echo fine')).stdout).toBe('fine\n');
    expect((await sandbox.refresh()).status).toBe('RUNNING');
    await sandbox.delete();
  });

  test('an idle sandbox ends at its idle timeout, one in use does not', async () => {
    const idle = await create({ idleTimeoutMs: 3_000 });
    await idle.ready();
    await expect.poll(async () => (await idle.refresh()).reason, { timeout: LIMIT_MS }).toBe('idle');
  });
});

describe('an unavailable image', () => {
  test('with a bad name is refused at once', async () => {
    await expect(create({ image: 'Nope:::bad' }).created()).rejects.toMatchObject({ code: 'invalid_request' });
  });

  test(
    'from a registry that does not answer ends as image_pull_failed, with a message',
    { timeout: 180_000 },
    async () => {
      // Nothing listens on this port of this machine.
      const sandbox = create({ image: '127.0.0.1:1/nothing:here' });
      await expect(sandbox.ready({ deadlineMs: 150_000 })).rejects.toMatchObject({ code: 'sandbox_ended' });
      const info = await sandbox.refresh();
      expect(info).toMatchObject({ status: 'ERROR', reason: 'image_pull_failed' });
      expect(info.message).toEqual(expect.any(String));
    },
  );
});

test('a list is complete and free of duplicates while sandboxes come and go', { timeout: 300_000 }, async () => {
  const label = { paged: 'yes' };
  const fixed: Sandbox[] = await Promise.all(stack.client.sandboxes.createMany(30, { memoryMb: 64, labels: label }));
  const ids = fixed.map(({ id }) => id);
  let stop = false;
  const churn = (async () => {
    while (!stop) {
      const sandbox = await create({ labels: label });
      await sandbox.delete();
    }
  })();
  try {
    for (let round = 0; round < 5; round++) {
      const seen: string[] = [];
      for await (const { info } of stack.client.sandboxes.list({ labels: label, pageSize: 7 })) seen.push(info.id);
      expect(new Set(seen).size).toBe(seen.length);
      expect(ids.filter((id) => !seen.includes(id))).toEqual([]);
    }
  } finally {
    stop = true;
    await churn;
  }
  await stack.client.sandboxes.deleteByLabel(label);
});

test('the node and its pool are as before once everything is deleted', async () => {
  await expect.poll(async () => (await stack.operator.nodes())[0]?.sandboxes, { timeout: LIMIT_MS }).toBe(0);
  await stack.warm(4);
  const answer = await request(`${stack.url}/readyz`);
  expect(answer.statusCode).toBe(200);
  await answer.body.dump();
});
