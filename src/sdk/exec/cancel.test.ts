import { describe, expect, it, vi } from 'vitest';
import { fakeClient } from '../testing/fake-client.ts';
import { turns } from '../testing/turns.ts';

// Generous: a busy machine is ten times slower.
vi.setConfig({ testTimeout: 120_000 });

describe('cancelling', () => {
  it('kills the command and rejects with the reason', async () => {
    const { exec, gateway } = fakeClient(() => undefined);
    const abort = new AbortController();
    const handle = exec('x', { signal: abort.signal });
    await handle.started;
    const reason = new Error('enough');
    abort.abort(reason);
    await expect(handle.result).rejects.toBe(reason);
    await [...gateway.execs.values()][0]!.killed;
  });

  it('starts nothing when the signal has fired before', async () => {
    const { exec, gateway } = fakeClient((p) => p.exit(0));
    await expect(exec('x', { signal: AbortSignal.abort(new Error('no')) })).rejects.toThrow('no');
    await turns();
    expect(gateway.execs.size).toBe(0);
  });

  it('sends signals and a kill', async () => {
    const { exec, gateway } = fakeClient(async (p) => {
      await p.killed;
      p.exit(143, { signal: 'TERM' });
    });
    const handle = exec('x');
    await handle.started;
    handle.signal('USR1', { all: true });
    handle.kill();
    expect((await handle).signal).toBe('TERM');
    const [running] = gateway.execs.values();
    expect(running!.commands).toEqual([{ type: 'signal', signal: 'USR1', all: true }, { type: 'kill' }]);
  });
});
