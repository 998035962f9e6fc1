import { describe, expect, it, vi } from 'vitest';
import { fakeClient } from '../testing/fake-client.ts';
import { turns } from '../testing/turns.ts';
import type { ExecOptions } from './options.ts';

// Generous: a busy machine is ten times slower.
vi.setConfig({ testTimeout: 120_000 });

describe('stdin', () => {
  it('is empty and ended by default', async () => {
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

  it('releases a writer when the command ends without reading', async () => {
    const { exec } = fakeClient(async (p) => {
      await turns();
      p.exit(0);
    });
    const handle = exec('x', { stdin: true });
    await Promise.all([handle, handle.write(Buffer.alloc(5_000_000))]);
  });
});
