import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it, vi } from 'vitest';

import { Channel } from '../protocol/frames.ts';
import type { ServiceError } from '../protocol/errors.ts';
import {
  acceptWs,
  createMux,
  dialWs,
  memoryPair,
  socketTransport,
  type Mux,
  type MuxStream,
  type Transport,
} from './index.ts';

// Generous: a busy machine is ten times slower.
vi.setConfig({ testTimeout: 120_000 });

interface Pair {
  client: Transport;
  server: Promise<Transport>;
  /** Breaks the connection under the transports. */
  cut(): void;
  close(): Promise<void>;
}

async function unixPair(): Promise<Pair> {
  const dir = mkdtempSync(path.join(tmpdir(), 'mux-'));
  const accepted = Promise.withResolvers<Transport>();
  const sockets: net.Socket[] = [];
  const server = net.createServer((socket) => {
    sockets.push(socket);
    accepted.resolve(socketTransport(socket));
  });
  server.listen(path.join(dir, 's'));
  await once(server, 'listening');
  const socket = net.connect(path.join(dir, 's'));
  await once(socket, 'connect');
  return {
    client: socketTransport(socket),
    server: accepted.promise,
    cut: () => sockets.forEach((s) => s.destroy()),
    close: async () => {
      // Waits for every socket: one that was moved and forgotten would block it.
      await new Promise((resolve) => server.close(resolve));
      rmSync(dir, { recursive: true });
    },
  };
}

async function wsPair(): Promise<Pair> {
  const accepted = Promise.withResolvers<Transport>();
  const sockets: { destroy(): void }[] = [];
  const server = http.createServer();
  server.on('upgrade', (request, socket, head) => {
    sockets.push(socket);
    accepted.resolve(acceptWs(request, socket, head, 'test'));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    client: await dialWs(`ws://127.0.0.1:${port}/`, { subprotocol: 'test', deadlineMs: 20_000 }),
    server: accepted.promise,
    cut: () => sockets.forEach((s) => s.destroy()),
    close: async () => void (await new Promise((resolve) => server.close(resolve))),
  };
}

function memory(): Promise<Pair> {
  const { a, b, cut } = memoryPair();
  return Promise.resolve({ client: a, server: Promise.resolve(b), cut: () => cut(), close: () => Promise.resolve() });
}

describe.each<[string, () => Promise<Pair>]>([
  ['memory', memory],
  ['a unix socket', unixPair],
  ['a WebSocket', wsPair],
])('the multiplexer over %s', (_name, makePair) => {
  async function link(onOpen: (stream: MuxStream) => object): Promise<{
    pair: Pair;
    client: Mux;
    closed: Promise<ServiceError | null>;
    serverClosed: Promise<ServiceError | null>;
  }> {
    const pair = await makePair();
    const closed = Promise.withResolvers<ServiceError | null>();
    const serverClosed = Promise.withResolvers<ServiceError | null>();
    const common = { hello: {}, onHello: () => undefined };
    createMux({ ...common, transport: await pair.server, role: 'listener', onOpen, onClose: serverClosed.resolve });
    const client = createMux({ ...common, transport: pair.client, role: 'dialler', onClose: closed.resolve });
    return { pair, client, closed: closed.promise, serverClosed: serverClosed.promise };
  }

  it('echoes megabytes byte for byte on many streams at once, and leaves nothing behind', async () => {
    const { pair, client, serverClosed } = await link((stream) => ({
      data: (channel: number, bytes: Uint8Array) => {
        const n = bytes.length;
        const drained = stream.write(channel, bytes);
        if (drained === undefined) stream.consume(n);
        else void drained.then(() => stream.consume(n));
      },
      fin: () => stream.end(),
    }));
    const one = async (seed: number): Promise<void> => {
      const sent = Buffer.alloc(1_500_000);
      for (let i = 0; i < sent.length; i++) sent[i] = (i * seed) >>> 7;
      const got: Buffer[] = [];
      const done = Promise.withResolvers<ServiceError | null>();
      const stream: MuxStream = client.open(
        {},
        {
          data: (_channel, bytes) => {
            got.push(Buffer.from(bytes));
            stream.consume(bytes.length);
          },
          closed: done.resolve,
        },
      );
      for (let at = 0; at < sent.length; at += 70_000)
        await stream.write(Channel.STDOUT, sent.subarray(at, at + 70_000));
      stream.end();
      expect(await done.promise).toBeNull();
      expect(Buffer.concat(got).equals(sent)).toBe(true);
    };
    await Promise.all([3, 5, 7, 11, 13].map(one));
    expect(await client.ping()).toBeGreaterThanOrEqual(0);
    client.close();
    await serverClosed;
    await pair.close();
  });

  it('ends every stream with `interrupted` when the connection breaks, and reports it on both sides', async () => {
    const theirs = Promise.withResolvers<ServiceError | null>();
    const opened = Promise.withResolvers<void>();
    const { pair, client, closed, serverClosed } = await link((stream) => {
      stream.accept();
      return { closed: theirs.resolve };
    });
    const ours = Promise.withResolvers<ServiceError | null>();
    client.open({}, { opened: () => opened.resolve(), closed: ours.resolve });
    await opened.promise;
    pair.cut();
    expect([(await ours.promise)?.code, (await theirs.promise)?.code]).toEqual(['interrupted', 'interrupted']);
    expect((await closed)?.code).toBe('interrupted');
    await serverClosed;
    await pair.close();
  });
});
