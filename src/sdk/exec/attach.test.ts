import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { HttpClient } from '../http.ts';
import { fakeClient, NOWHERE } from '../testing/fake-client.ts';
import { ExecHandle } from './handle.ts';

// Generous: a busy machine is ten times slower.
vi.setConfig({ testTimeout: 120_000 });

describe('attaching', () => {
  it('replays a running command from its first byte, and writes to stdin after earlier writers', async () => {
    const { exec, gateway, connection } = fakeClient(async (p) => {
      await p.write('stdout', 'before ');
      await p.write('stdout', await p.stdinEnded);
      p.exit(0);
    });
    const first = exec('x', { stdin: true });
    await first.write('abc');
    await first.started;
    await first.detach();
    await expect(first.result).rejects.toMatchObject({ code: 'cancelled' });
    const http = new HttpClient({ endpoints: NOWHERE, apiKey: undefined, userAgent: 'test' });
    onTestFinished(() => http.close());
    const deps = { http, connection, sandbox: 's', resumeMs: 20_000 };
    const second = new ExecHandle(deps, null, { id: first.id, stdin: true });
    await second.write('def');
    gateway.cut();
    await second.write('ghi');
    second.closeStdin();
    expect((await second).stdout).toBe('before abcdefghi');
    expect(gateway.starts).toBe(1);
  });
});

describe('an id chosen by the caller', () => {
  it('is one run, even when its exit was already read', async () => {
    const { exec, gateway } = fakeClient(async (p) => {
      await p.write('stdout', 'once');
      p.exit(5);
    });
    for (let i = 0; i < 3; i++) expect(await exec('x', { id: 'build' })).toMatchObject({ exitCode: 5, stdout: 'once' });
    expect(gateway.starts).toBe(1);
    expect(gateway.execs.get('build')?.acknowledged).toBe(false);
  });

  it('that was generated is forgotten once its exit was read', async () => {
    const { exec, gateway } = fakeClient((p) => p.exit(0));
    const handle = exec('x');
    await handle;
    await vi.waitFor(() => expect(gateway.execs.get(handle.id)?.acknowledged).toBe(true), 20_000);
  });
});
