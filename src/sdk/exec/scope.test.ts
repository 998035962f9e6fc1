import { expect, test } from 'vitest';
import { fakeClient } from '../testing/fake-client.ts';

test('a command that goes out of scope is killed, and has then ended', async () => {
  const { exec, gateway } = fakeClient(async (program) => {
    await program.killed;
    program.exit(143);
  });
  let result: Promise<unknown>;
  {
    await using running = exec('sleep 1000');
    result = running.result;
    result.catch(() => undefined);
    await running.started;
  }
  const [program] = gateway.execs.values();
  expect(program?.commands).toEqual([{ type: 'kill' }]);
  await expect(result).rejects.toMatchObject({ code: 'cancelled' });
});

test('one that has ended or was detached is left as it is', async () => {
  const { exec, gateway } = fakeClient((program) =>
    program.request['command'] === 'true' ? program.exit(0) : undefined,
  );
  let result: Promise<unknown>;
  {
    await using ended = exec('true');
    result = ended.result;
    await result;
    await using left = exec('sleep 1000');
    await left.detach();
  }
  expect(await result).toMatchObject({ exitCode: 0 });
  expect([...gateway.execs.values()].map(({ commands }) => commands)).toEqual([[], []]);
});

test('one that has not started never will', async () => {
  const created = Promise.withResolvers<string>();
  const { exec, gateway } = fakeClient((program) => program.exit(0), created.promise);
  {
    await using running = exec('true');
    void running;
  }
  created.resolve('sbx-1');
  await new Promise((resolve) => setImmediate(resolve));
  expect(gateway.starts).toBe(0);
});
