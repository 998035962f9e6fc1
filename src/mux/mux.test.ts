import { describe, expect, it, vi } from 'vitest';
import { Channel } from '../protocol/frames.ts';
import { ServiceError } from '../protocol/errors.ts';
import { LINK_WINDOW_BYTES, STREAM_WINDOW_BYTES } from '../protocol/limits.ts';
import { createMux, memoryPair, type MuxStream, type StreamHandler } from './index.ts';
import type { MemoryOptions } from './memory-transport.ts';

function pair(
  onOpen: (stream: MuxStream) => StreamHandler,
  options: { lazyMs?: number } = {},
  memory: MemoryOptions = {},
) {
  const link = memoryPair(memory);
  const client = createMux({
    transport: link.a,
    role: 'dialler',
    hello: { generation: 1 },
    onHello: () => undefined,
    ...options,
  });
  const server = createMux({
    transport: link.b,
    role: 'listener',
    hello: { generation: 1 },
    onHello: () => undefined,
    onOpen,
  });
  return { client, server, link };
}

describe('mux', () => {
  it('carries a request, its bytes both ways, its events in order and its end', async () => {
    const { client } = pair((stream) => ({
      data: (channel, bytes) => {
        void stream.write(Channel.STDOUT, Buffer.from(`${channel}:${Buffer.from(bytes)}`));
        stream.consume(bytes.length);
      },
      fin: () => {
        stream.event({ type: 'exit' });
        stream.end();
      },
    }));
    const seen: unknown[] = [];
    const done = Promise.withResolvers<ServiceError | null>();
    const stream = client.open(
      { op: 'echo' },
      {
        opened: (answer) => seen.push(answer),
        data: (channel, bytes) => seen.push([channel, Buffer.from(bytes).toString()]),
        event: (message) => seen.push(message),
        fin: (channel) => seen.push(['fin', channel]),
        closed: done.resolve,
      },
    );
    void stream.write(Channel.STDIN, Buffer.from('hello'));
    stream.end();
    expect(await done.promise).toBeNull();
    expect(seen).toEqual([{}, [1, '0:hello'], { type: 'exit' }, ['fin', Channel.ALL]]);
  });

  it('carries events, such as a kill, after the end of any channel', async () => {
    const seen: unknown[] = [];
    const { client } = pair((stream) => ({
      event: (message) => seen.push(message),
      fin: (channel) => {
        seen.push(['fin', channel]);
        if (channel === Channel.ALL) stream.end();
      },
    }));
    const done = Promise.withResolvers<ServiceError | null>();
    const stream = client.open({ op: 'exec' }, { closed: done.resolve });
    stream.fin(Channel.STDIN);
    stream.urgent({ type: 'kill' });
    stream.event({ type: 'resize' });
    stream.end();
    expect(await done.promise).toBeNull();
    expect(seen).toContainEqual({ type: 'kill' });
    expect(seen.at(-2)).toEqual({ type: 'resize' });
  });

  it('refuses with a typed error', async () => {
    const { client } = pair(() => {
      throw new ServiceError('sandbox_not_found');
    });
    const done = Promise.withResolvers<ServiceError | null>();
    client.open({}, { closed: done.resolve });
    expect((await done.promise)?.code).toBe('sandbox_not_found');
  });

  it('sends what was queued just before it is closed', async () => {
    const told = Promise.withResolvers<unknown>();
    const { client } = pair(() => ({ fin: told.resolve, closed: told.reject }));
    const stream = client.open({}, {});
    // In one go: nothing has been sent yet when the link is closed.
    stream.end();
    client.close();
    expect(await told.promise).toBe(Channel.ALL);
  });

  describe("the opener's last frame", () => {
    /** A call whose opener sends the last frame. Resolves once it has; `closed` when the responder knows. */
    async function call(lazyMs: number) {
      const closed = Promise.withResolvers<ServiceError | null>();
      const { client } = pair(
        (stream) => {
          stream.end();
          return { closed: closed.resolve };
        },
        { lazyMs },
      );
      const ended = Promise.withResolvers<void>();
      const stream = client.open({}, { fin: () => ended.resolve() });
      await ended.promise;
      stream.end();
      return { client, closed: closed.promise };
    }

    it('is sent by itself when nothing else follows', async () => {
      const { closed } = await call(1);
      expect(await closed).toBeNull();
    });

    it('waits for the next call, and is sent before it', async () => {
      const { client, closed } = await call(3_600_000);
      const first = await Promise.race([closed, client.ping()]);
      expect(first).toBeNull();
      client.close();
    });

    it('is not lost when the link is closed', async () => {
      const { client, closed } = await call(3_600_000);
      client.close();
      expect(await closed).toBeNull();
    });
  });

  it('moves many megabytes through a reader that consumes late', async () => {
    const total = 8 * 1024 * 1024;
    const { client } = pair((stream) => {
      void (async () => {
        const block = Buffer.alloc(100_000, 7);
        for (let sent = 0; sent < total;) {
          const n = Math.min(block.length, total - sent);
          await stream.write(Channel.STDOUT, block.subarray(0, n));
          sent += n;
        }
        stream.end();
      })();
      return {};
    });
    let got = 0;
    const done = Promise.withResolvers<ServiceError | null>();
    const stream: MuxStream = client.open(
      {},
      {
        data: (_channel, bytes) => {
          const n = bytes.length;
          got += n;
          setImmediate(() => stream.consume(n));
        },
        fin: () => stream.end(),
        closed: done.resolve,
      },
    );
    expect(await done.promise).toBeNull();
    expect(got).toBe(total);
  });

  it('spends no more than the credit of the link, however much the wire accepts and streams may send', async () => {
    const held: (() => void)[] = [];
    let holds = false;
    const schedule = (deliver: () => void): void => void (holds ? held.push(deliver) : queueMicrotask(deliver));
    const streams = 8;
    const each = STREAM_WINDOW_BYTES;
    expect(streams * each).toBeGreaterThan(LINK_WINDOW_BYTES);
    let got = 0;
    const all = Promise.withResolvers<void>();
    const onOpen = (stream: MuxStream): StreamHandler => ({
      data: (_channel, bytes) => {
        got += bytes.length;
        stream.consume(bytes.length);
        if (got === streams * each) all.resolve();
      },
    });
    const { client, link } = pair(onOpen, {}, { deep: true, schedule });
    const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
    // The handshake is complete.
    await turn();
    holds = true;
    const onTheWire = vi.spyOn(link.a, 'send');
    for (let i = 0; i < streams; i++) {
      void client.open({}, {}).write(Channel.STDIN, Buffer.alloc(each, i));
      // Each is on the wire before the next one writes.
      await turn();
    }
    const sent = onTheWire.mock.calls.reduce((sum, [bytes]) => sum + bytes.length, 0);
    const headers = 16 * 1024;
    expect(sent).toBeGreaterThanOrEqual(LINK_WINDOW_BYTES);
    expect(sent).toBeLessThan(LINK_WINDOW_BYTES + headers);
    holds = false;
    for (const deliver of held.splice(0)) deliver();
    await all.promise;
  });
});
