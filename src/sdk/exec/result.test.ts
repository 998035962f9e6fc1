import { describe, expect, it, vi } from 'vitest';
import { ServiceError } from '../../protocol/errors.ts';
import { CommandFailedError, MilliboxError } from '../errors.ts';
import { fakeClient } from '../testing/fake-client.ts';
import { turns } from '../testing/turns.ts';

// Generous: a busy machine is ten times slower.
vi.setConfig({ testTimeout: 120_000 });

describe('exec, awaited', () => {
  it('returns the complete result', async () => {
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

  it('reports why a command never ran', async () => {
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
