import { once } from 'node:events';
import http, { type Server } from 'node:http';
import net, { type AddressInfo } from 'node:net';
import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';

import { WebSocket, WebSocketServer } from 'ws';
import { ServiceError } from '../../protocol/errors.ts';
import type { Transport } from '../types.ts';
import {
  MAX_WS_HEADER_BYTES,
  Opcode,
  WebSocketError,
  WebSocketReader,
  applyMask,
  writeHeaderBefore,
} from './frames.ts';
import { UpgradeRefused, acceptWs, dialWs } from './handshake.ts';

// Generous: a busy machine is ten times slower.
vi.setConfig({ testTimeout: 120_000 });

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function listen(server: Server): Promise<string> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closing.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return `ws://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

/** A server of ours that echoes all bytes. */
async function ourServer(seen: (transport: Transport) => void = () => undefined): Promise<string> {
  const server = http.createServer();
  server.on('upgrade', (request, socket, head) => {
    try {
      const transport = acceptWs(request, socket, head, 'test.v1');
      seen(transport);
      transport.start(
        (chunk) => transport.send(withHeadroom(chunk), () => undefined),
        () => undefined,
      );
    } catch (error) {
      socket.end(`HTTP/1.1 ${ServiceError.from(error).httpStatus} No\r\nConnection: close\r\n\r\n`);
    }
  });
  return await listen(server);
}

function withHeadroom(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(MAX_WS_HEADER_BYTES + bytes.length);
  out.set(bytes, MAX_WS_HEADER_BYTES);
  return out.subarray(MAX_WS_HEADER_BYTES);
}

/** Collects until `count` bytes have come. */
function collector(transport: Transport): { take(count: number): Promise<Buffer>; closed: Promise<Error | null> } {
  let all = Buffer.alloc(0);
  let wake: () => void = () => undefined;
  const closed = Promise.withResolvers<Error | null>();
  transport.start(
    (chunk) => {
      all = Buffer.concat([all, chunk]);
      wake();
    },
    (error) => closed.resolve(error),
  );
  closing.push(() => transport.close());
  return {
    closed: closed.promise,
    async take(count) {
      while (all.length < count) await new Promise<void>((resolve) => (wake = resolve));
      return all;
    },
  };
}

const dial = (url: string, more: object = {}) => dialWs(url, { subprotocol: 'test.v1', deadlineMs: 20_000, ...more });
const sample = (n: number): Buffer => Buffer.from(Uint8Array.from({ length: n }, (_, i) => (i * 31) >>> 3));

describe('a WebSocket of ours', () => {
  it.each([false, true])('carries bytes of all sizes to a server of ours and back (zero mask: %s)', async (zeros) => {
    const transport = await dial(await ourServer(), { maskWithZeros: zeros });
    const echo = collector(transport);
    const sizes = [1, 5, 125, 126, 127, 65_535, 65_536, 300_000];
    for (const n of sizes) transport.send(withHeadroom(sample(n)), () => undefined);
    const all = Buffer.concat(sizes.map(sample));
    expect((await echo.take(all.length)).equals(all)).toBe(true);
  });

  it('understands the client of another library, fragments and pings included', async () => {
    const ws = new WebSocket(await ourServer(), ['test.v1'], { perMessageDeflate: true });
    closing.push(() => ws.terminate());
    await once(ws, 'open');
    expect(ws.protocol).toBe('test.v1');
    const got: Buffer[] = [];
    ws.on('message', (data) => got.push(data as Buffer));
    ws.send(sample(10), { fin: false });
    ws.ping('are you there');
    ws.send(sample(200_000), { fin: true });
    const [pong] = (await once(ws, 'pong')) as [Buffer];
    expect(pong.toString()).toBe('are you there');
    while (got.reduce((n, b) => n + b.length, 0) < 200_010) await once(ws, 'message');
    expect(Buffer.concat(got).equals(Buffer.concat([sample(10), sample(200_000)]))).toBe(true);
    ws.close(1000);
    const [code] = (await once(ws, 'close')) as [number];
    expect(code).toBe(1000);
  });

  it.each([false, true])('is understood by the server of another library (zero mask: %s)', async (zeros) => {
    const server = http.createServer();
    const wss = new WebSocketServer({ server, handleProtocols: () => 'test.v1' });
    wss.on('connection', (ws) => {
      ws.on('message', (data) => ws.send(data));
      ws.ping('x');
      ws.once('pong', () => ws.send('pong', { binary: true }));
    });
    const transport = await dial(await listen(server), { maskWithZeros: zeros });
    const echo = collector(transport);
    await echo.take(4);
    transport.send(withHeadroom(sample(100_000)), () => undefined);
    const got = await echo.take(100_004);
    expect(got.equals(Buffer.concat([Buffer.from('pong'), sample(100_000)]))).toBe(true);
    for (const ws of wss.clients) ws.close(1001, 'bye');
    expect((await echo.closed)?.message).toContain('1001');
  });

  it('loses no frame that comes in the same read as the upgrade', async () => {
    const server = net.createServer((socket) => {
      socket.once('data', (request) => {
        const key = /sec-websocket-key: (.*)\r\n/i.exec(request.toString())![1]!;
        void import('node:crypto').then(({ createHash }) => {
          const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
          socket.write(
            Buffer.concat([
              Buffer.from(
                `HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: test.v1\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
              ),
              Buffer.from([0x82, 5]),
              Buffer.from('early'),
            ]),
          );
        });
      });
      socket.on('error', () => undefined);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    closing.push(() => server.close());
    const transport = await dial(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`);
    expect((await collector(transport).take(5)).toString()).toBe('early');
  });

  it('tells both sides of a close, with its reason', async () => {
    let theirs: Transport | undefined;
    const url = await ourServer((transport) => (theirs = transport));
    const transport = await dial(url);
    const ours = collector(transport);
    theirs!.close({ code: 'draining', message: 'x' });
    expect((await ours.closed)?.message).toContain('draining');
  });

  it('calls `sent`, also for what is larger than the socket takes at once', async () => {
    const transport = await dial(await ourServer());
    const echo = collector(transport);
    await new Promise<void>((resolve) => transport.send(withHeadroom(sample(4_000_000)), resolve));
    await echo.take(4_000_000);
  });
});

describe('a handshake', () => {
  it('that is refused says with what', async () => {
    const server = http.createServer((_request, response) => {
      response.writeHead(401, { 'content-type': 'application/json' }).end('{"error":{"code":"unauthenticated"}}');
    });
    const error = await dial(await listen(server)).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(UpgradeRefused);
    expect(error).toMatchObject({ status: 401, body: '{"error":{"code":"unauthenticated"}}' });
  });

  it('without our subprotocol is refused', async () => {
    const error = await dialWs(await ourServer(), { subprotocol: 'other', deadlineMs: 20_000 }).catch(
      (e: unknown) => e,
    );
    expect(error).toMatchObject({ status: 400 });
  });

  it('that is not answered ends at its deadline, or when the caller gives up', async () => {
    const server = net.createServer((socket) => void socket.on('error', () => undefined).resume());
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    closing.push(() => server.close());
    const url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;
    await expect(dial(url, { deadlineMs: 20 })).rejects.toMatchObject({ code: 'deadline_exceeded' });
    const abort = new AbortController();
    const dialling = dial(url, { signal: abort.signal });
    abort.abort(new Error('no more'));
    await expect(dialling).rejects.toThrow('no more');
  });
});

/** A frame as a client sends it. */
function frame(payload: Uint8Array, key: Uint8Array | null, opcode: number = Opcode.BINARY, final = true): Buffer {
  const out = Buffer.alloc(MAX_WS_HEADER_BYTES + payload.length);
  out.set(payload, MAX_WS_HEADER_BYTES);
  if (key !== null) applyMask(out.subarray(MAX_WS_HEADER_BYTES), key, 0);
  const start = writeHeaderBefore(out, MAX_WS_HEADER_BYTES, opcode, payload.length, key);
  if (!final) out[start]! &= 0x7f;
  return out.subarray(start);
}

function read(chunks: Uint8Array[], expectMask = true): { bytes: Buffer; controls: [number, string][] } {
  const parts: Buffer[] = [];
  const controls: [number, string][] = [];
  const reader = new WebSocketReader(
    {
      bytes: (chunk) => parts.push(Buffer.from(chunk)) > 0,
      control: (opcode, payload) => controls.push([opcode, Buffer.from(payload).toString()]) > 0,
    },
    expectMask,
  );
  for (const chunk of chunks) reader.push(new Uint8Array(chunk));
  return { bytes: Buffer.concat(parts), controls };
}

describe('the framing', () => {
  it('gives the same bytes however they are masked, fragmented and split', () => {
    const key = fc.uint8Array({ minLength: 4, maxLength: 4 });
    const message = fc.record({
      payload: fc.uint8Array({ maxLength: 400 }),
      key,
      cut: fc.nat(400),
      ping: fc.boolean(),
    });
    fc.assert(
      fc.property(
        fc.array(message, { maxLength: 8 }),
        fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 }),
        (messages, sizes) => {
          const wire = Buffer.concat(
            messages.flatMap((m) => [
              frame(m.payload.subarray(0, m.cut), m.key, Opcode.BINARY, false),
              ...(m.ping ? [frame(Buffer.from('p'), m.key, Opcode.PING)] : []),
              frame(m.payload.subarray(m.cut), m.key, Opcode.CONTINUATION),
            ]),
          );
          const chunks: Buffer[] = [];
          for (let at = 0, i = 0; at < wire.length; i++) {
            const n = sizes[i % sizes.length]!;
            chunks.push(wire.subarray(at, at + n));
            at += n;
          }
          const got = read(chunks);
          expect(got.bytes.equals(Buffer.concat(messages.map((m) => m.payload)))).toBe(true);
          expect(got.controls.length).toBe(messages.filter((m) => m.ping).length);
        },
      ),
    );
  });

  const key = Uint8Array.of(1, 2, 3, 4);
  it.each<[string, Uint8Array, number]>([
    ['text', frame(Buffer.from('hi'), key, Opcode.TEXT), 1003],
    ['a frame without the mask', frame(Buffer.from('hi'), null), 1002],
    ['reserved bits', Uint8Array.of(0xc2, 0x80, 0, 0, 0, 0), 1002],
    ['an unknown opcode', Uint8Array.of(0x83, 0x80, 0, 0, 0, 0), 1002],
    ['an unknown control opcode', Uint8Array.of(0x8b, 0x80, 0, 0, 0, 0), 1002],
    ['a long ping', frame(Buffer.alloc(126), key, Opcode.PING), 1002],
    ['a fragmented ping', frame(Buffer.alloc(1), key, Opcode.PING, false), 1002],
    ['a continuation of nothing', frame(Buffer.alloc(1), key, Opcode.CONTINUATION), 1002],
    [
      'a message within a message',
      Buffer.concat([frame(Buffer.alloc(1), key, Opcode.BINARY, false), frame(Buffer.alloc(1), key)]),
      1002,
    ],
    ['an absurd length', Uint8Array.of(0x82, 0xff, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0), 1009],
  ])('refuses %s', (_what, bytes, status) => {
    const error = (() => {
      try {
        read([bytes]);
      } catch (e) {
        return e;
      }
      return undefined;
    })();
    expect(error).toBeInstanceOf(WebSocketError);
    expect((error as WebSocketError).status).toBe(status);
  });

  it('never throws anything else, whatever comes', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 10 }), fc.boolean(), (chunks, mask) => {
        try {
          read(chunks, mask);
        } catch (error) {
          expect(error).toBeInstanceOf(WebSocketError);
        }
      }),
      { numRuns: 1_000 },
    );
  });
});
