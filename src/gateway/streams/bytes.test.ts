import { expect, test } from 'vitest';
import { createMux, memoryPair, type Mux, type StreamHandler, type MuxStream } from '../../mux/index.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { Channel } from '../../protocol/frames.ts';
import type { NodeOpen } from '../../protocol/node.ts';
import { ByteStream } from './bytes.ts';
import { sendBytes } from './send.ts';

/** A link whose other side handles streams like this. */
function linked(onOpen: (stream: MuxStream) => StreamHandler): Mux {
  const pair = memoryPair();
  createMux({ transport: pair.b, role: 'listener', hello: {}, onHello: () => undefined, onOpen });
  return createMux({ transport: pair.a, role: 'dialler', hello: {}, onHello: () => undefined });
}

const OPEN: NodeOpen = { op: 'file' };

async function* chunks(count: number): AsyncGenerator<Buffer> {
  for (let i = 0; i < count; i++) yield Buffer.alloc(64 * 1024, i);
}

test('a node that takes nothing for too long ends the transfer', async () => {
  const mux = linked((stream) => {
    queueMicrotask(() => stream.accept());
    return { data: () => undefined };
  });
  const stream = new ByteStream(mux, OPEN);
  await stream.opened;
  await expect(stream.write(chunks(100), 30)).rejects.toMatchObject({ code: 'deadline_exceeded' });
  mux.close();
});

test('everything that arrives is read; a break in the middle is an error, not an end', async () => {
  const bytes = Buffer.alloc(1_000_000, 'abc');
  const mux = linked((stream) => {
    queueMicrotask(async () => {
      stream.accept();
      await sendBytes(stream, Channel.BYTES, bytes);
      if (stream.request['break'] === true) stream.reset(new ServiceError('file_failed'));
      else stream.end();
    });
    return {};
  });
  const read = async (more: object): Promise<Buffer> => {
    const parts: Buffer[] = [];
    for await (const part of new ByteStream(mux, { ...OPEN, ...more }).read()) parts.push(part);
    return Buffer.concat(parts);
  };
  expect((await read({})).equals(bytes)).toBe(true);
  await expect(read({ break: true })).rejects.toMatchObject({ code: 'file_failed' });
  mux.close();
});

test('small frames that nobody has read yet are merged, and arrive complete', async () => {
  const bytes = 16 * 1024;
  const sent = Promise.withResolvers<void>();
  const mux = linked((stream) => {
    queueMicrotask(() => {
      stream.accept();
      const send = (at: number): void => {
        if (at === bytes) return stream.end();
        void stream.write(Channel.BYTES, Buffer.from([at & 255]));
        queueMicrotask(() => send(at + 1));
      };
      send(0);
    });
    return { fin: () => sent.resolve() };
  });
  const stream = new ByteStream(mux, OPEN);
  await stream.done;
  await sent.promise;
  const parts: Buffer[] = [];
  for await (const part of stream.read()) parts.push(part);
  expect(parts.length).toBeLessThan(100);
  expect(Buffer.concat(parts).length).toBe(bytes);
  expect(Buffer.concat(parts).every((byte, at) => byte === (at & 255))).toBe(true);
  mux.close();
});

test('a node that ends the stream early stops the writer, and its reason is reported', async () => {
  const mux = linked((stream) => {
    queueMicrotask(() => stream.accept());
    return { data: () => stream.reset(new ServiceError('file_no_space')) };
  });
  const stream = new ByteStream(mux, OPEN);
  await stream.opened;
  await stream.write(chunks(1_000));
  await expect(stream.done).rejects.toMatchObject({ code: 'file_no_space' });
  mux.close();
});
