import { describe, expect, it, vi } from 'vitest';
import { ServiceError } from '../protocol/errors.ts';
import { Channel } from '../protocol/frames.ts';
import type { MuxStream } from '../mux/index.ts';
import { Files } from './files.ts';
import { fakeClient } from './testing/fake-client.ts';
import type { FakeGateway } from './testing/fake-gateway.ts';

// Generous: a busy machine is ten times slower.
vi.setConfig({ testTimeout: 120_000 });

type OnOther = FakeGateway['onOther'];

function bench(onOther: OnOther) {
  const { gateway, connection, http } = fakeClient(() => undefined);
  gateway.onOther = onOther;
  return { gateway, files: new Files({ streams: connection, http, sandbox: 'sbx-1' }) };
}

const stat = (path: string, sizeBytes: number) => ({
  path,
  kind: 'file',
  sizeBytes,
  mode: 0o644,
  uid: 0,
  gid: 0,
  modifiedAtMs: 1,
});
const pattern = (n: number): Buffer => Buffer.from(Uint8Array.from({ length: n }, (_, i) => (i * 7919) >>> 6));

/** A file system of one file, served as boxinit does. `onPiece` is called between the chunks of a read. */
function oneFile(state: { content: Buffer; mtime?: number }, onPiece: (at: number) => void = () => undefined): OnOther {
  return (stream) => {
    const {
      call,
      path,
      offset = 0,
      length,
    } = stream.request as { call: string; path: string; offset?: number; length?: number };
    if (call === 'read') {
      stream.accept({ ...stat(path, state.content.length), modifiedAtMs: state.mtime ?? 1 });
      void serve(stream, state.content.subarray(offset, length === undefined ? undefined : offset + length), onPiece);
      return {};
    }
    if (call !== 'write') throw new ServiceError('file_not_found');
    stream.accept({});
    const got: Buffer[] = [];
    return {
      data: (_channel: number, bytes: Uint8Array) => {
        got.push(Buffer.from(bytes));
        stream.consume(bytes.length);
      },
      fin: (channel: number) => {
        if (channel !== Channel.ALL) return;
        state.content = Buffer.concat(got);
        stream.event({ type: 'done', stat: stat(path, state.content.length) });
        stream.end();
      },
    };
  };
}

async function serve(stream: MuxStream, bytes: Buffer, onPiece: (at: number) => void): Promise<void> {
  for (let at = 0; at < bytes.length && !stream.closed; at += 10_000) {
    await stream.write(Channel.BYTES, bytes.subarray(at, at + 10_000));
    onPiece(at);
  }
  stream.end();
}

describe('files', () => {
  it('are read completely, and by range', async () => {
    const content = pattern(300_000);
    const { files } = bench(oneFile({ content }));
    expect((await files.read('/a')).equals(content)).toBe(true);
    expect((await files.read('/a', { offset: 5, length: 7 })).equals(content.subarray(5, 12))).toBe(true);
  });

  it('are read on at the same byte after a cut', async () => {
    const content = pattern(400_000);
    let cuts = 0;
    const { files, gateway } = bench(
      oneFile({ content }, (at) => {
        if (at === 200_000 && cuts++ < 3) gateway.cut();
      }),
    );
    expect((await files.read('/a')).equals(content)).toBe(true);
    expect(gateway.dials).toBeGreaterThan(1);
  });

  it('are read to their end over any number of cuts, as long as each attempt makes progress', async () => {
    const content = pattern(1_200_000);
    let cuts = 0;
    const { files, gateway } = bench(
      oneFile({ content }, (at) => {
        if (at === 50_000 && cuts++ < 12) gateway.cut();
      }),
    );
    expect((await files.read('/a')).equals(content)).toBe(true);
    expect(cuts).toBeGreaterThanOrEqual(12);
  });

  it('are written again when a cut leaves the outcome unknown, and nothing is appended twice', async () => {
    for (const append of [false, true]) {
      let writes = 0;
      const { files, gateway } = bench((stream) => {
        writes += 1;
        if (writes > 1) return oneFile({ content: pattern(1) })(stream);
        stream.accept();
        return { fin: () => gateway.cut() };
      });
      const written = files.write('/a', 'text', { append });
      if (append) await expect(written).rejects.toMatchObject({ code: 'interrupted' });
      else expect((await written).sizeBytes).toBe(4);
      expect(writes).toBe(append ? 1 : 2);
    }
  });

  it('that change during a cut are not mixed', async () => {
    const state = { content: pattern(400_000), mtime: 1 };
    const { files, gateway } = bench(
      oneFile(state, (at) => {
        if (at !== 200_000) return;
        state.mtime += 1;
        gateway.cut();
      }),
    );
    await expect(files.read('/a')).rejects.toMatchObject({ code: 'not_supported' });
  });

  it('block the sandbox while the reader is slow', async () => {
    let sent = 0;
    const { files } = bench(oneFile({ content: pattern(3_000_000) }, (at) => (sent = at)));
    const reader = files.readStream('/a');
    await reader.next();
    for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve));
    expect(sent).toBeLessThan(600_000);
    await reader.return(undefined);
  });

  it.each<[string, () => Parameters<Files['write']>[1]]>([
    ['text', () => 'grün'],
    ['bytes', () => Buffer.from('grün')],
    [
      'a stream',
      async function* () {
        yield 'gr';
        yield Buffer.from('ün');
      },
    ],
  ])('are written from %s', async (_what, source) => {
    const state = { content: Buffer.alloc(0) };
    const { files } = bench(oneFile(state));
    expect((await files.write('/a', source())).sizeBytes).toBe(5);
    expect(state.content.toString()).toBe('grün');
  });

  it('are not left half written when the source fails', async () => {
    const state = { content: Buffer.from('old') };
    const { files } = bench(oneFile(state));
    const source = async function* () {
      yield 'new';
      await Promise.resolve();
      throw new Error('source');
    };
    await expect(files.write('/a', source())).rejects.toThrow('source');
    expect(state.content.toString()).toBe('old');
  });

  it('are listed page by page', async () => {
    const { path: _, ...entry } = stat('', 1);
    const { files } = bench((stream) => {
      const after = stream.request['after'];
      stream.accept(
        after === undefined
          ? {
              entries: [
                { ...entry, name: 'a' },
                { ...entry, name: 'b' },
              ],
              more: true,
            }
          : { entries: [{ ...entry, name: 'c' }], more: false },
      );
      stream.end();
      return {};
    });
    expect((await files.list('/')).map((e) => e.name)).toEqual(['a', 'b', 'c']);
  });

  it('throw the typed error of the sandbox', async () => {
    const { files } = bench(oneFile({ content: pattern(1) }));
    await expect(files.stat('/nope')).rejects.toMatchObject({ code: 'file_not_found' });
    expect(await files.exists('/nope')).toBe(false);
    const { files: below } = bench(() => {
      throw new ServiceError('file_not_directory');
    });
    expect(await below.exists('/a/file/x')).toBe(false);
  });

  it('can be cancelled by a signal and by a deadline', async () => {
    const { files } = bench((stream) => {
      stream.accept(stat('/a', 1));
      return {};
    });
    const abort = new AbortController();
    const reading = files.read('/a', { signal: abort.signal });
    setImmediate(() => abort.abort(new Error('enough')));
    await expect(reading).rejects.toThrow('enough');
    const { files: silent } = bench(() => ({}));
    await expect(silent.stat('/a', { deadlineMs: 20 })).rejects.toMatchObject({ code: 'deadline_exceeded' });
  });

  it('are watched until the loop is left', async () => {
    const closed = Promise.withResolvers<string | undefined>();
    const { files } = bench((stream) => {
      stream.accept();
      stream.event({ type: 'change', kind: 'created', path: 'x' });
      stream.event({ type: 'change', kind: 'modified', path: 'x' });
      return { closed: (error) => closed.resolve(error?.code) };
    });
    const seen: string[] = [];
    for await (const change of files.watch('/')) if (seen.push(change.kind) === 2) break;
    expect(seen).toEqual(['created', 'modified']);
    expect(await closed.promise).toBe('cancelled');
  });

  it('can be watched by a slow reader indefinitely: missed changes are reported as an overflow', async () => {
    const { files } = bench((stream) => {
      stream.accept();
      for (let i = 0; i < 12_000; i++) stream.event({ type: 'change', kind: 'create', path: `/${i}` });
      stream.end();
      return {};
    });
    const kinds: string[] = [];
    for await (const change of files.watch('/')) {
      kinds.push(change.kind);
      if (kinds.length === 1) await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect(kinds.filter((kind) => kind === 'overflow')).toHaveLength(1);
    expect(kinds.at(-1)).toBe('overflow');
  });

  it("being watched end with the signal's reason", async () => {
    const { files } = bench((stream) => {
      stream.accept();
      return {};
    });
    const abort = new AbortController();
    const reason = new Error('enough');
    const next = files.watch('/', { signal: abort.signal }).next();
    setImmediate(() => abort.abort(reason));
    await expect(next).rejects.toBe(reason);
  });

  it('accept no source that is neither text nor bytes, and send nothing of it', async () => {
    const { files, gateway } = bench(oneFile({ content: pattern(1) }));
    for (const source of [null, 5, {}]) await expect(files.write('/a', source as never)).rejects.toThrow(TypeError);
    expect(gateway.execs.size).toBe(0);
    await expect(files.write('/a', [1, 2] as never)).rejects.toThrow(TypeError);
  });
});
