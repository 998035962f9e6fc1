import { describe, expect, it, onTestFinished, vi } from 'vitest';

import { ServiceError } from '../protocol/errors.ts';
import { fakeClient, NOWHERE } from './testing/fake-client.ts';
import { CommandFailedError, MilliboxError } from './errors.ts';
import { Connection } from './connection.ts';
import { ExecHandle } from './exec/handle.ts';
import type { ExecOptions } from './exec/options.ts';
import { HttpClient } from './http.ts';

// Generous: a busy machine is ten times slower.
vi.setConfig({ testTimeout: 120_000 });

const turns = async (n = 5): Promise<void> => {
  for (let i = 0; i < n; i++) await new Promise((resolve) => setImmediate(resolve));
};

describe('exec, awaited', () => {
  it('gives the whole result', async () => {
    const { exec, gateway } = fakeClient(async (p) => {
      await p.write('stdout', 'out');
      await p.write('stderr', 'err');
      p.exit(3);
    });
    const result = await exec(['a', 'b'], { cwd: '/x', env: { A: '1' }, user: 'u', timeoutMs: 5 });
    expect(result).toMatchObject({
      exitCode: 3,
      stdout: 'out',
      stderr: 'err',
      stdoutBytes: 3,
      stderrBytes: 3,
      queueMs: 3,
    });
    expect(result.truncated).toEqual({ stdout: false, stderr: false });
    const request = [...gateway.execs.values()][0]!.request;
    expect(request).toMatchObject({
      op: 'exec',
      sandbox: 'sbx-1',
      argv: ['a', 'b'],
      cwd: '/x',
      env: { A: '1' },
      user: 'u',
      timeoutMs: 5,
    });
  });

  it('acknowledges the exit', async () => {
    const { exec, gateway } = fakeClient((p) => p.exit(0));
    await exec('true');
    await expect.poll(() => [...gateway.execs.values()][0]!.acknowledged, { timeout: 20_000 }).toBe(true);
  });

  it('waits for the id of a sandbox that is being created', async () => {
    const created = Promise.withResolvers<string>();
    const { exec, gateway } = fakeClient((p) => p.exit(0), created.promise);
    const handle = exec('true');
    await turns();
    expect(gateway.execs.size).toBe(0);
    created.resolve('sbx-late');
    expect((await handle).exitCode).toBe(0);
    expect([...gateway.execs.values()][0]!.request['sandbox']).toBe('sbx-late');
  });

  it('fails with the error of the create', async () => {
    const { exec } = fakeClient((p) => p.exit(0), Promise.reject(new ServiceError('capacity_exhausted')));
    await expect(exec('true')).rejects.toMatchObject({ code: 'capacity_exhausted' });
  });

  it('sends a long script as data', async () => {
    const { exec, gateway } = fakeClient(async (p) => {
      await p.scriptEnded;
      p.exit(0);
    });
    const script = `#${'ü'.repeat(200_000)}\nexit 0`;
    await exec(script);
    const running = [...gateway.execs.values()][0]!;
    expect(running.request['scriptBytes']).toBe(Buffer.byteLength(script));
    expect(running.request['command']).toBeUndefined();
    expect(running.script.toString()).toBe(script);
  });

  it('keeps at most maxOutputBytes, says so, and drains the rest', async () => {
    const { exec } = fakeClient(async (p) => {
      for (let i = 0; i < 20; i++) await p.write('stdout', Buffer.alloc(50_000, 65));
      p.exit(0);
    });
    const result = await exec('x', { maxOutputBytes: 1_234, encoding: 'bytes' });
    expect(result.stdout.length).toBe(1_234);
    expect(result.stdoutBytes).toBe(1_000_000);
    expect(result.truncated).toEqual({ stdout: true, stderr: false });
  });

  it('rejects on request when the command fails, with the result', async () => {
    const { exec } = fakeClient(async (p) => {
      await p.write('stderr', 'no such thing\n');
      p.exit(2);
    });
    const error = await exec('x', { check: true }).result.catch((e: unknown) => e);
    expect(error).toBeInstanceOf(CommandFailedError);
    expect(error).not.toBeInstanceOf(MilliboxError);
    expect((error as CommandFailedError).result.exitCode).toBe(2);
    expect((error as Error).message).toContain('no such thing');
  });

  it('passes on why a command never ran', async () => {
    const { exec } = fakeClient(() => {
      throw new ServiceError('exec_bad_cwd');
    });
    await expect(exec('x')).rejects.toMatchObject({ code: 'exec_bad_cwd' });
  });

  it('calls back in order, waits for what a callback awaits, and never cuts a character', async () => {
    const text = 'añ→😀'.repeat(5_000);
    const bytes = Buffer.from(text);
    const { exec } = fakeClient(async (p) => {
      for (let at = 0; at < bytes.length; at += 7) await p.write('stdout', bytes.subarray(at, at + 7));
      p.exit(0);
    });
    let seen = '';
    let busy = 0;
    const result = await exec('x', {
      onStdout: async (data: string) => {
        busy += 1;
        expect(busy).toBe(1);
        await Promise.resolve();
        seen += data;
        busy -= 1;
      },
    });
    expect(seen).toBe(text);
    expect(result.stdout).toBe(text);
  });

  it('ends with the error that a callback throws, and kills the command', async () => {
    const { exec, gateway } = fakeClient((p) => p.write('stdout', 'x'));
    const boom = new Error('boom');
    await expect(
      exec('x', {
        onStdout: () => {
          throw boom;
        },
      }),
    ).rejects.toBe(boom);
    await [...gateway.execs.values()][0]!.killed;
  });
});

describe('exec, iterated', () => {
  it('yields output as it comes, then the exit', async () => {
    const { exec } = fakeClient(async (p) => {
      await p.write('stdout', 'one');
      await p.write('stderr', 'two');
      p.exit(0);
    });
    const events = [];
    for await (const event of exec('x')) events.push(event.type === 'exit' ? event.exitCode : event);
    expect(events).toEqual([{ type: 'stdout', data: 'one' }, { type: 'stderr', data: 'two' }, 0]);
  });

  it('holds a command back while the reader is slow, and holds at most a window', async () => {
    let written = 0;
    const { exec } = fakeClient(async (p) => {
      for (let i = 0; i < 100; i++) {
        await p.write('stdout', Buffer.alloc(20_000, 1));
        written += 20_000;
      }
      p.exit(0);
    });
    const reader = exec('x', { encoding: 'bytes' })[Symbol.asyncIterator]();
    let got = 0;
    const first = await reader.next();
    if (!first.done && first.value.type === 'stdout') got += first.value.data.length;
    await turns(50);
    expect(written).toBeLessThan(600_000);
    for (let next = await reader.next(); !next.done; next = await reader.next()) {
      if (next.value.type === 'stdout') got += next.value.data.length;
    }
    expect(got).toBe(2_000_000);
  });

  it('blocks a command that nobody reads', async () => {
    let written = 0;
    const { exec } = fakeClient(async (p) => {
      for (let i = 0; i < 100; i++) {
        await p.write('stdout', Buffer.alloc(20_000, 1));
        written += 20_000;
      }
      p.exit(0);
    });
    const handle = exec('x', { encoding: 'bytes' });
    await turns(50);
    expect(written).toBeLessThan(600_000);
    expect((await handle).stdout.length).toBe(2_000_000);
  });

  it('kills the command when the reader leaves the loop', async () => {
    const { exec, gateway } = fakeClient(async (p) => {
      await p.write('stdout', 'x');
    });
    for await (const _ of exec('x')) break;
    await [...gateway.execs.values()][0]!.killed;
  });
});

describe('stdin', () => {
  it('is empty and ended unless given', async () => {
    const { exec, gateway } = fakeClient((p) => p.exit(0));
    await exec('x');
    expect([...gateway.execs.values()][0]!.request['stdin']).toBeUndefined();
  });

  it.each<[string, ExecOptions['stdin']]>([
    ['text', 'häagen'],
    ['bytes', Buffer.from('häagen')],
    [
      'pieces',
      (async function* () {
        yield 'hä';
        await turns();
        yield Buffer.from('agen');
      })(),
    ],
    ['an ArrayBuffer', Uint8Array.from(Buffer.from('häagen')).buffer],
    ['a part of a buffer', new DataView(Uint8Array.from(Buffer.from('<häagen>')).buffer, 1, 7)],
    [
      'pieces of two bytes',
      [new Uint16Array(Uint8Array.from(Buffer.from('hä..')).buffer, 0, 1), Buffer.from('ä').subarray(1), 'agen'],
    ],
  ])('is sent from %s', async (_what, stdin) => {
    const { exec } = fakeClient(async (p) => {
      await p.write('stdout', await p.stdinEnded);
      p.exit(0);
    });
    expect((await exec('cat', { stdin: stdin! })).stdout).toBe('häagen');
  });

  it('is written piece by piece, and closed', async () => {
    const { exec } = fakeClient(async (p) => {
      await p.write('stdout', await p.stdinEnded);
      p.exit(0);
    });
    const handle = exec('cat', { stdin: true });
    await handle.write('a');
    await handle.write('b');
    await handle.write(new Uint16Array(Uint8Array.from(Buffer.from('cd')).buffer));
    await expect(handle.write(5 as never)).rejects.toThrow(TypeError);
    handle.closeStdin();
    expect((await handle).stdout).toBe('abcd');
    await expect(handle.write('c')).rejects.toMatchObject({ code: 'invalid_request' });
  });

  it('lets a writer go when the command ends without reading', async () => {
    const { exec } = fakeClient(async (p) => {
      await turns();
      p.exit(0);
    });
    const handle = exec('x', { stdin: true });
    await Promise.all([handle, handle.write(Buffer.alloc(5_000_000))]);
  });
});

describe('attaching', () => {
  it('shows a command that runs from its first byte on, and writes behind what others wrote', async () => {
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

describe('an id chosen by the caller', () => {
  it('is one run, also when its exit was taken before', async () => {
    const { exec, gateway } = fakeClient(async (p) => {
      await p.write('stdout', 'once');
      p.exit(5);
    });
    for (let i = 0; i < 3; i++) expect(await exec('x', { id: 'build' })).toMatchObject({ exitCode: 5, stdout: 'once' });
    expect(gateway.starts).toBe(1);
    expect(gateway.execs.get('build')?.acknowledged).toBe(false);
  });

  it('that nobody chose is done with when its exit was taken', async () => {
    const { exec, gateway } = fakeClient((p) => p.exit(0));
    const handle = exec('x');
    await handle;
    await vi.waitFor(() => expect(gateway.execs.get(handle.id)?.acknowledged).toBe(true), 20_000);
  });
});

describe('after a cut', () => {
  it('output goes on at the very byte, over many cuts', async () => {
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

  it('a kill and the last size of a terminal are said again: the cut may have swallowed them', async () => {
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
    // Before anything of it has left.
    gateway.cut();
    expect((await handle).exitCode).toBe(143);
    expect(commands).toEqual([{ type: 'resize', cols: 100, rows: 50 }, { type: 'kill' }]);
  });

  it('stdin goes on at the very byte', async () => {
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

  it('a command whose OPEN may have been lost is asked for again and runs once', async () => {
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

  it('a character that was cut in two is whole', async () => {
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

  it('an abort that comes while the link is down still kills', async () => {
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

  it('ends an exec that no link can reach, in bounded time', async () => {
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
