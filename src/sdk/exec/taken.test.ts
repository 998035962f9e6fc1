/** Commands that were taken over, by another client or by a late OPEN of our own. */
import { expect, test, vi } from 'vitest';
import { fakeClient } from '../testing/fake-client.ts';

// Generous: a busy machine is ten times slower.
vi.setConfig({ testTimeout: 120_000 });

test('our own late OPEN takes the command away only for a moment', async () => {
  const { exec, gateway } = fakeClient(async (p) => {
    await p.write('stdout', 'before ');
    await p.stdinEnded;
    await p.write('stdout', 'after');
    p.exit(0);
  });
  const handle = exec('x', { stdin: true });
  await handle.started;
  gateway.unanswered = 1;
  gateway.cut();
  await vi.waitFor(() => expect(gateway.unanswered).toBe(0), 20_000);
  gateway.cut();
  const running = gateway.execs.get(handle.id)!;
  await vi.waitFor(() => expect(running.listened).toBe(true), 20_000);
  running.takeAway();
  handle.closeStdin();
  expect(await handle).toMatchObject({ exitCode: 0, stdout: 'before after' });
  expect(gateway.starts).toBe(1);
});

test('another client that takes the command over keeps it, however many cuts there were', async () => {
  const { exec, gateway } = fakeClient(async (p) => void (await p.stdinEnded));
  const handle = exec('x', { stdin: true });
  await handle.started;
  const running = gateway.execs.get(handle.id)!;
  for (let i = 0; i < 3; i++) {
    gateway.cut();
    await vi.waitFor(() => expect(running.listened).toBe(true), 20_000);
  }
  running.takeAway();
  await expect(handle).rejects.toMatchObject({ code: 'cancelled' });
});
