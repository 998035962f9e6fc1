import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { Connection } from '../connection.ts';
import { HttpClient } from '../http.ts';
import { fakeClient, NOWHERE } from '../testing/fake-client.ts';
import { turns } from '../testing/turns.ts';
import { ExecHandle } from './handle.ts';

// Generous: a busy machine is ten times slower.
vi.setConfig({ testTimeout: 120_000 });

describe('after a cut', () => {
  it('output resumes at the exact byte, over many cuts', async () => {
    const total = 300_000;
    const bytes = Buffer.alloc(total);
    for (let i = 0; i < total; i++) bytes[i] = (i * 7919) >>> 5;
    const { exec, gateway } = fakeClient(async (p) => {
      for (let at = 0; at < total; at += 3_000) {
        void p.write('stdout', bytes.subarray(at, at + 3_000));
        await turns(2);
        if (at % 30_000 !== 0) continue;
        const dials = gateway.dials;
        gateway.cut();
        while (gateway.dials === dials) await turns();
      }
      p.exit(0);
    });
    const result = await exec('x', { encoding: 'bytes' });
    expect(result.stdout.equals(bytes)).toBe(true);
    expect(gateway.starts).toBe(1);
    expect(gateway.dials).toBeGreaterThan(5);
  });

  it('a kill and the latest terminal size are sent again, since the cut may have lost them', async () => {
    let commands: unknown[] = [];
    const { exec, gateway } = fakeClient(async (p) => {
      ({ commands } = p);
      await p.killed;
      p.exit(143);
    });
    const handle = exec('x');
    await handle.started;
    handle.resize(90, 30);
    handle.resize(100, 50);
    handle.kill();
    // Before any of it has been sent.
    gateway.cut();
    expect((await handle).exitCode).toBe(143);
    expect(commands).toEqual([{ type: 'resize', cols: 100, rows: 50 }, { type: 'kill' }]);
  });

  it('stdin resumes at the exact byte', async () => {
    const total = 3_000_000;
    const bytes = Buffer.alloc(total);
    for (let i = 0; i < total; i++) bytes[i] = (i * 7919) >>> 5;
    const { exec, gateway } = fakeClient(async (p) => {
      const got = await p.stdinEnded;
      await p.write('stdout', String(got.equals(bytes)));
      p.exit(0);
    });
    const handle = exec('x', { stdin: true });
    for (let at = 0; at < total; at += 100_000) {
      await handle.write(bytes.subarray(at, at + 100_000));
      if (at % 500_000 === 0) gateway.cut();
    }
    handle.closeStdin();
    expect((await handle).stdout).toBe('true');
    expect(gateway.starts).toBe(1);
  });

  it('a command whose OPEN may have been lost is opened again and runs once', async () => {
    const { exec, gateway } = fakeClient(async (p) => {
      await p.write('stdout', 'once');
      p.exit(0);
    });
    let first = true;
    gateway.beforeStart = async () => {
      if (!first) return;
      first = false;
      gateway.cut();
      await turns();
    };
    expect((await exec('x')).stdout).toBe('once');
    expect(gateway.starts).toBe(1);
    expect(gateway.dials).toBe(2);
  });

  it('a character split by the cut is intact', async () => {
    const { exec, gateway } = fakeClient(async (p) => {
      await p.write('stdout', Buffer.from('😀').subarray(0, 2));
      await turns();
      gateway.cut();
      await p.write('stdout', Buffer.from('😀').subarray(2));
      p.exit(0);
    });
    let seen = '';
    await exec('x', { onStdout: (data: string) => (seen += data) });
    expect(seen).toBe('😀');
  });

  it('an exec that nobody knows any more is interrupted, not made up', async () => {
    const { exec, gateway } = fakeClient(async () => {
      await turns();
      gateway.execs.clear();
      gateway.cut();
    });
    await expect(exec('x')).rejects.toMatchObject({ code: 'interrupted' });
  });

  it('a gateway that is away for a while is waited for', async () => {
    const { exec, gateway } = fakeClient(async (p) => {
      await turns();
      gateway.cut();
      await turns(10);
      await p.write('stdout', 'back');
      p.exit(0);
    });
    let refusals = 3;
    gateway.onDial = () => {
      if (gateway.dials > 1 && refusals-- > 0) throw new Error('ECONNREFUSED');
    };
    expect((await exec('x')).stdout).toBe('back');
  });

  it('an abort while the link is down still kills', async () => {
    const abort = new AbortController();
    const { exec, gateway } = fakeClient(async (p) => {
      await p.killed;
      p.exit(137);
    });
    const handle = exec('x', { signal: abort.signal });
    await handle.started;
    gateway.onDial = () => {
      gateway.onDial = () => undefined;
      abort.abort(new Error('stop'));
      throw new Error('away');
    };
    gateway.cut();
    await expect(handle.result).rejects.toThrow('stop');
    await [...gateway.execs.values()][0]!.killed;
    expect(gateway.starts).toBe(1);
  });

  it('an exec that no link can reach ends in bounded time', async () => {
    const { gateway } = fakeClient(() => undefined);
    const connection = new Connection({ dial: gateway.dial, endpoints: NOWHERE, patienceMs: 1 });
    const http = new HttpClient({ endpoints: NOWHERE, apiKey: undefined, userAgent: 'test' });
    onTestFinished(async () => {
      connection.close();
      await http.close();
    });
    const handle = new ExecHandle({ http, connection, sandbox: 's', resumeMs: 1 }, 'x');
    await handle.started;
    gateway.onDial = () => {
      throw new Error('gone for good');
    };
    gateway.cut();
    await expect(handle.result).rejects.toMatchObject({ code: 'node_unavailable' });
  });
});
