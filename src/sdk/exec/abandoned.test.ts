/** Loops that are left and sources that never end: a command that is abandoned leaves nothing behind. */
import { describe, expect, it, vi } from 'vitest';
import { fakeClient } from '../testing/fake-client.ts';
import type { FakeProgram } from '../testing/fake-gateway.ts';

// Generous: a busy machine is ten times slower.
vi.setConfig({ testTimeout: 120_000 });

function bench(program: FakeProgram) {
  const client = fakeClient(program);
  const { gateway, exec } = client;
  const killed = async (): Promise<void> => {
    await vi.waitFor(() => expect(gateway.execs.size).toBe(1), 20_000);
    await [...gateway.execs.values()][0]!.killed;
  };
  return { exec, killed };
}

const silent: FakeProgram = () => undefined;

describe('a loop over the output', () => {
  it('that is left while it waits ends at once, and the command is killed', async () => {
    const { exec, killed } = bench(silent);
    const handle = exec('x');
    await handle.started;
    const reader = handle[Symbol.asyncIterator]();
    const next = reader.next();
    expect(await reader.return(undefined)).toEqual({ done: true, value: undefined });
    expect(await next).toEqual({ done: true, value: undefined });
    await killed();
    await expect(handle.exit).rejects.toMatchObject({ code: 'cancelled' });
  });

  it('that is left before it began kills the command', async () => {
    const { exec, killed } = bench(silent);
    const handle = exec('x');
    await handle.started;
    await handle[Symbol.asyncIterator]().return(undefined);
    await killed();
  });

  it('into which an error is thrown rejects with it, and the command is killed', async () => {
    const { exec, killed } = bench(silent);
    const handle = exec('x');
    await handle.started;
    const boom = new Error('boom');
    await expect(handle[Symbol.asyncIterator]().throw(boom)).rejects.toBe(boom);
    await killed();
  });

  it('that is left after the exit changes nothing', async () => {
    const { exec } = bench((p) => p.exit(3));
    const handle = exec('x');
    const reader = handle[Symbol.asyncIterator]();
    expect((await reader.next()).value).toMatchObject({ type: 'exit', exitCode: 3 });
    await reader.return(undefined);
    expect((await handle).exitCode).toBe(3);
  });

  it('shares the events with another, and neither waits for ever', async () => {
    const { exec } = bench(async (p) => {
      await p.write('stdout', 'a');
      p.exit(0);
    });
    const handle = exec('x');
    const readers = [handle[Symbol.asyncIterator](), handle[Symbol.asyncIterator]()] as const;
    const first = await Promise.all(readers.map((reader) => reader.next()));
    expect(first.map(({ value }) => value?.type)).toEqual(['stdout', 'exit']);
    const last = await Promise.all(readers.map((reader) => reader.next()));
    expect(last.map(({ done }) => done)).toEqual([true, true]);
  });

  it('that is refused because the result is awaited leaves the command alone', async () => {
    const { exec } = bench(async (p) => {
      await p.stdinEnded;
      p.exit(0);
    });
    const handle = exec('x', { stdin: true });
    const result = handle.result;
    await expect(handle[Symbol.asyncIterator]().next()).rejects.toThrow(TypeError);
    handle.closeStdin();
    expect((await result).exitCode).toBe(0);
  });
});

it('a command that is killed while nobody reads ends, and its result has its first bytes', async () => {
  const total = 1024 * 1024;
  const { exec, killed } = bench(async (p) => {
    void p.write('stdout', 'x'.repeat(total));
    await p.killed;
    p.exit(143, { signal: 'TERM' });
  });
  const handle = exec('yes');
  await handle.started;
  handle.kill();
  await killed();
  expect((await handle.exit).stdoutBytes).toBe(total);
  const result = await handle;
  expect(result).toMatchObject({ exitCode: 143, stdoutBytes: total, truncated: { stdout: true, stderr: false } });
  expect(result.stdout).toMatch(/^x{100000,}$/);
});

it('a source of stdin that never ends is released when the command has ended', async () => {
  const { exec } = bench((p) => p.exit(0));
  const closed = Promise.withResolvers<void>();
  async function* endless(): AsyncGenerator<string> {
    try {
      for (;;) yield 'x'.repeat(64 * 1024);
    } finally {
      closed.resolve();
    }
  }
  expect((await exec('head -c1', { stdin: endless() })).exitCode).toBe(0);
  await closed.promise;
});

it('an invalid output cap is refused before anything runs', () => {
  const { exec } = bench(silent);
  for (const maxOutputBytes of [-1, 0.5, NaN, Infinity]) {
    expect(() => exec('x', { maxOutputBytes })).toThrow('maxOutputBytes');
  }
});

it('a zero byte is refused in a script of any length', () => {
  const { exec } = bench(silent);
  expect(() => exec(`echo a\0b${' '.repeat(100_000)}`)).toThrow('zero byte');
});
