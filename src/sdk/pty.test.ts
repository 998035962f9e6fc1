/** Terminals, including those whose readers come late, share, stop or leave: their end is always reported. */
import { describe, expect, it, vi } from 'vitest';
import { fakeClient } from './testing/fake-client.ts';
import type { FakeProgram } from './testing/fake-gateway.ts';
import { ExecHandle } from './exec/handle.ts';
import { Pty, type AttachPtyOptions } from './pty.ts';

// Generous: a busy machine is ten times slower.
vi.setConfig({ testTimeout: 120_000 });

const WINDOW_BYTES = 256 * 1024;
type FakeProcess = Parameters<FakeProgram>[0];

function start(program: FakeProgram, options: { signal?: AbortSignal } & AttachPtyOptions = {}) {
  const client = fakeClient(program);
  const { onOutputLost, ...rest } = options;
  const pty = new Pty(client.exec('x', { ...rest, stdin: true, encoding: 'bytes' }), { onOutputLost });
  const process = async (): Promise<FakeProcess> => {
    await vi.waitFor(() => expect(client.gateway.starts).toBe(1), 20_000);
    return [...client.gateway.execs.values()][0]!;
  };
  return { pty, gateway: client.gateway, process };
}

const silent: FakeProgram = () => undefined;
const untilKilled: FakeProgram = async (p) => {
  await p.killed;
  p.exit(137, { signal: 'KILL' });
};
/** Writes this much, each byte depending on its position, and exits. */
const writes =
  (bytes: number): FakeProgram =>
  (p) => {
    void p.write('stdout', pattern(bytes));
    p.exit(0);
  };
const pattern = (bytes: number): Buffer => Buffer.from(Array.from({ length: bytes }, (_, i) => i % 251));

async function readAll(pty: AsyncIterable<Buffer>): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const bytes of pty) pieces.push(bytes);
  return Buffer.concat(pieces);
}

describe('a terminal', () => {
  it('takes keys and sizes, shows output, and reports how it ended', async () => {
    const { connection, http, gateway } = fakeClient(async (p) => {
      await p.write('stdout', '$ ');
      const got = await p.stdinEnded;
      await p.write('stdout', got);
      p.exit(5);
    });
    const exec = new ExecHandle(
      { http, connection, sandbox: 's', resumeMs: 1_000 },
      'sh',
      { stdin: true, encoding: 'bytes' },
      { pty: { cols: 10, rows: 5 } },
    );
    const pty = new Pty(exec);
    await pty.write('ls\r');
    pty.resize(80, 24);
    exec.closeStdin();
    let shown = '';
    for await (const piece of pty) shown += piece.toString();
    expect(shown).toBe('$ ls\r');
    expect((await pty.exit).exitCode).toBe(5);
    const [running] = gateway.execs.values();
    expect(running!.request).toMatchObject({ pty: { cols: 10, rows: 5 }, stdin: true });
    expect(running!.commands).toEqual([{ type: 'resize', cols: 80, rows: 24 }]);
  });
});

describe('the exit arrives although nobody reads', () => {
  it('after a kill', async () => {
    const { pty } = start(untilKilled);
    await pty.started;
    pty.kill();
    expect(await pty.exit).toMatchObject({ exitCode: 137, signal: 'KILL' });
  });

  it('after a kill of a program that has filled more than the window', async () => {
    const { pty } = start(async (p) => {
      void p.write('stdout', Buffer.alloc(4 * WINDOW_BYTES));
      await p.killed;
      p.exit(137);
    });
    await pty.started;
    pty.kill();
    expect((await pty.exit).stdoutBytes).toBe(4 * WINDOW_BYTES);
  });

  it('of a program with more output than a window: a late reader gets the beginning, and is told what was lost', async () => {
    const total = 3 * WINDOW_BYTES + 17;
    const lost: unknown[] = [];
    const { pty } = start(writes(total), { onOutputLost: (gap) => lost.push(gap) });
    expect((await pty.exit).stdoutBytes).toBe(total);
    const shown = await readAll(pty);
    expect(shown.length).toBeGreaterThan(WINDOW_BYTES / 2);
    expect(shown.equals(pattern(total).subarray(0, shown.length))).toBe(true);
    expect(lost).toEqual([{ from: shown.length, to: total }]);
    expect(pty.offset).toBe(total);
  });

  it('and nothing is lost of output that fits the window', async () => {
    const { pty } = start(writes(1_000));
    expect((await pty.exit).exitCode).toBe(0);
    expect(await readAll(pty)).toEqual(pattern(1_000));
  });
});

it('asking for the exit first takes nothing away from a reader that starts at once', async () => {
  const total = 4 * WINDOW_BYTES;
  const { pty } = start(writes(total), { onOutputLost: () => expect.unreachable() });
  const exit = pty.exit;
  expect((await readAll(pty)).equals(pattern(total))).toBe(true);
  expect((await exit).exitCode).toBe(0);
});

describe('readers of a terminal', () => {
  it('that are waiting are released when they leave, and the program is killed', async () => {
    const { pty, process } = start(silent);
    await pty.started;
    const reader = pty[Symbol.asyncIterator]();
    const next = reader.next();
    expect(await reader.return(undefined)).toEqual({ done: true, value: undefined });
    expect(await next).toEqual({ done: true, value: undefined });
    await (
      await process()
    ).killed;
    await expect(pty.exit).rejects.toMatchObject({ code: 'cancelled' });
  });

  it('that break off kill the program', async () => {
    const { pty, process } = start((p) => void p.write('stdout', 'prompt'));
    for await (const bytes of pty) {
      expect(bytes.toString()).toBe('prompt');
      break;
    }
    await (
      await process()
    ).killed;
  });

  it('that merely stop asking leave it alone, and can continue later', async () => {
    const { pty, process } = start((p) => void p.write('stdout', 'one'));
    const reader = pty[Symbol.asyncIterator]();
    expect((await reader.next()).value?.toString()).toBe('one');
    const running = await process();
    await running.write('stdout', 'two');
    running.exit(0);
    expect((await readAll(reader)).toString()).toBe('two');
    expect((await pty.exit).exitCode).toBe(0);
  });

  it('that run concurrently share the output, and neither waits for ever', async () => {
    const total = 2 * WINDOW_BYTES;
    const { pty } = start(writes(total));
    const shown = await Promise.all([readAll(pty), readAll(pty)]);
    expect(shown[0]!.length + shown[1]!.length).toBe(total);
  });

  it('get every byte over a link that is cut again and again', async () => {
    const total = 8 * WINDOW_BYTES;
    const { pty, gateway } = start(writes(total));
    let seen = 0;
    const pieces: Buffer[] = [];
    for await (const bytes of pty) {
      pieces.push(bytes);
      seen += bytes.length;
      if (seen > WINDOW_BYTES && gateway.dials < 5) {
        seen = 0;
        gateway.cut();
      }
    }
    expect(Buffer.concat(pieces).equals(pattern(total))).toBe(true);
    expect((await pty.exit).exitCode).toBe(0);
    expect(gateway.dials).toBeGreaterThan(2);
    expect(gateway.starts).toBe(1);
  });
});

it('an aborted signal ends the reader and the exit with its reason, and kills the program', async () => {
  const abort = new AbortController();
  const { pty, process } = start(silent, { signal: abort.signal });
  await pty.started;
  const read = readAll(pty);
  const reason = new Error('enough');
  abort.abort(reason);
  await expect(read).rejects.toBe(reason);
  await expect(pty.exit).rejects.toBe(reason);
  await (
    await process()
  ).killed;
});

it('a cut among many resizes leaves the last size in force', async () => {
  const { pty, gateway, process } = start(silent);
  await pty.started;
  const { commands } = await process();
  for (let i = 1; i <= 2_000; i++) {
    pty.resize(i, 10);
    if (i === 1_000) gateway.cut();
  }
  await vi.waitFor(() => expect(commands.at(-1)).toEqual({ type: 'resize', cols: 2_000, rows: 10 }), 20_000);
});

it('signals are sent by name, to the foreground or to all', async () => {
  const { pty, process } = start(silent);
  await pty.started;
  pty.signal('INT');
  pty.signal('USR1', { all: true });
  const { commands } = await process();
  await vi.waitFor(() => expect(commands.length).toBe(2), 20_000);
  expect(commands).toEqual([
    { type: 'signal', signal: 'INT' },
    { type: 'signal', signal: 'USR1', all: true },
  ]);
});
