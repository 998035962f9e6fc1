import { describe, expect, it, vi } from 'vitest';
import { fakeClient } from '../testing/fake-client.ts';
import { turns } from '../testing/turns.ts';

// Generous: a busy machine is ten times slower.
vi.setConfig({ testTimeout: 120_000 });

/** A command that writes 2 MB, and how much of that it has been able to write so far. */
function talker() {
  let written = 0;
  const { exec } = fakeClient(async (p) => {
    for (let i = 0; i < 100; i++) {
      await p.write('stdout', Buffer.alloc(20_000, 1));
      written += 20_000;
    }
    p.exit(0);
  });
  return { exec, written: () => written };
}

describe('exec, iterated', () => {
  it('yields output as it arrives, then the exit', async () => {
    const { exec } = fakeClient(async (p) => {
      await p.write('stdout', 'one');
      await p.write('stderr', 'two');
      p.exit(0);
    });
    const events = [];
    for await (const event of exec('x')) events.push(event.type === 'exit' ? event.exitCode : event);
    expect(events).toEqual([{ type: 'stdout', data: 'one' }, { type: 'stderr', data: 'two' }, 0]);
  });

  it('blocks the command while the reader is slow, and buffers at most a window', async () => {
    const { exec, written } = talker();
    const reader = exec('x', { encoding: 'bytes' })[Symbol.asyncIterator]();
    let got = 0;
    const first = await reader.next();
    if (!first.done && first.value.type === 'stdout') got += first.value.data.length;
    await turns(50);
    expect(written()).toBeLessThan(600_000);
    for (let next = await reader.next(); !next.done; next = await reader.next()) {
      if (next.value.type === 'stdout') got += next.value.data.length;
    }
    expect(got).toBe(2_000_000);
  });

  it('blocks a command that nobody reads', async () => {
    const { exec, written } = talker();
    const handle = exec('x', { encoding: 'bytes' });
    await turns(50);
    expect(written()).toBeLessThan(600_000);
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
