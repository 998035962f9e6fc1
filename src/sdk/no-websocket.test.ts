/** A service that cannot be reached by WebSocket. */
import { describe, expect, it, vi } from 'vitest';
import { info, service } from './testing/http-service.ts';

// Generous: a busy machine is ten times slower.
vi.setConfig({ testTimeout: 120_000 });

describe('exec', () => {
  it('uses HTTP when WebSockets are blocked', async () => {
    const { client, requests } = await service(({ url }) => {
      if (!url.pathname.endsWith('/exec')) return { body: info('s') };
      return {
        body: {
          execId: 'x',
          exitCode: 4,
          signal: null,
          stdout: Buffer.from('hé').toString('base64'),
          stderr: '',
          timedOut: false,
          oomKilled: false,
          truncated: { stdout: false, stderr: false },
          stdoutBytes: 3,
          stderrBytes: 0,
          durationMs: 1,
          queueMs: 2,
        },
      };
    });
    const sandbox = await client.sandboxes.get('s');
    const result = await sandbox.exec(['cat'], { stdin: 'hé', cwd: '/x' });
    expect(result).toMatchObject({ exitCode: 4, stdout: 'hé', queueMs: 2 });
    const call = requests.find((r) => r.url.pathname.endsWith('/exec'))!;
    expect(call.body).toMatchObject({
      argv: ['cat'],
      cwd: '/x',
      encoding: 'base64',
      stdin: Buffer.from('hé').toString('base64'),
    });
    expect(call.key).toBe(result.execId);
  });

  it('fails at once with an unknown key', async () => {
    const upgrade = { status: 401, body: { error: { code: 'unauthenticated', message: 'no' } } };
    const { client } = await service(() => ({ body: info('s') }), { upgrade });
    const sandbox = await client.sandboxes.get('s');
    await expect(sandbox.exec('true').result).rejects.toMatchObject({ code: 'unauthenticated' });
  });

  it('in the background is a job', async () => {
    const exit = {
      exitCode: 0,
      signal: null,
      timedOut: false,
      oomKilled: false,
      stdoutBytes: 0,
      stderrBytes: 0,
      durationMs: 1,
    };
    const state = {
      execId: 'j',
      background: true,
      startedAt: '2026-01-01T00:00:00.000Z',
      stdoutBytes: 0,
      stderrBytes: 0,
    };
    let polls = 0;
    const { client, requests } = await service(({ url }) => {
      if (url.pathname.endsWith('/exec')) return { body: { execId: 'j' } };
      if (!url.pathname.endsWith('/execs/j')) return { body: info('s') };
      polls += 1;
      return { body: polls < 3 ? { ...state, state: 'running', exit: null } : { ...state, state: 'exited', exit } };
    });
    const sandbox = await client.sandboxes.get('s');
    const job = await sandbox.exec('sleep 1', { background: true });
    expect((await job.wait()).exit.exitCode).toBe(0);
    expect(requests.find((r) => r.url.pathname.endsWith('/exec'))!.body).toMatchObject({ background: true });
  });
});
