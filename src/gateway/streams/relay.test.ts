import { expect, test } from 'vitest';
import type { Json, MuxStream } from '../../mux/index.ts';
import type { ServiceError } from '../../protocol/errors.ts';
import { Channel } from '../../protocol/frames.ts';
import { relay } from './relay.ts';

/** One end of a stream that records what is done to it. */
class End {
  closed = false;
  readonly writes: [channel: number, text: string][] = [];
  readonly messages: Json[] = [];
  consumed = 0;
  refused: ServiceError | null = null;
  /** The result of a write. */
  room: Promise<void> | undefined;

  get stream(): MuxStream {
    return this as unknown as MuxStream;
  }
  write(channel: number, bytes: Uint8Array): Promise<void> | undefined {
    this.writes.push([channel, Buffer.from(bytes).toString('latin1')]);
    return this.room;
  }
  urgent(message: Json): void {
    this.messages.push(message);
  }
  fin(): void {}
  end(): void {}
  reset(): void {}
  refuse(error: ServiceError): void {
    this.refused = error;
    this.closed = true;
  }
  consume(bytes: number): void {
    this.consumed += bytes;
  }
}

function joined() {
  const client = new End();
  const node = new End();
  const found = Promise.withResolvers<MuxStream>();
  const handler = relay(client.stream, { later: () => found.promise });
  const join = async (): Promise<void> => {
    found.resolve(node.stream);
    await found.promise;
  };
  return { client, node, handler, join };
}

test('small frames that wait for a node are merged, and arrive complete', async () => {
  const { client, node, handler, join } = joined();
  const bytes = 64 * 1024;
  for (let at = 0; at < bytes; at++) handler.data?.(Channel.STDIN, Buffer.from([at & 127]));
  await join();
  expect(node.writes.length).toBeLessThan(100);
  const text = node.writes.map(([, part]) => part).join('');
  expect([...text].every((letter, at) => letter.charCodeAt(0) === (at & 127))).toBe(true);
  expect([text.length, client.consumed]).toEqual([bytes, bytes]);
});

test('only what a node understands of a message is passed on, before and after there is a node', async () => {
  const { node, handler, join } = joined();
  const padding = 'x'.repeat(500_000);
  const say = (): void => {
    handler.event?.({ type: 'resize', cols: 1, rows: 2, padding });
    handler.event?.({ type: 'resize', cols: 3, rows: 4, padding });
    handler.event?.({ type: 'resize', cols: 0, rows: 4 });
    handler.event?.({ type: 'signal', signal: 'TERM', all: true, padding });
    handler.event?.({ type: 'signal', signal: padding });
    handler.event?.({ type: 'kill', padding });
    handler.event?.({ type: 'rubbish', padding });
  };
  say();
  await join();
  const newest = [
    { type: 'resize', cols: 3, rows: 4 },
    { type: 'signal', signal: 'TERM', all: true },
    { type: 'kill' },
  ];
  expect(node.messages).toEqual(newest);
  say();
  expect(node.messages.slice(newest.length)).toEqual([{ type: 'resize', cols: 1, rows: 2 }, ...newest]);
});

test('a client that queues too many signals is refused', () => {
  const { client, handler } = joined();
  for (let i = 0; i < 1_000 && client.refused === null; i++) handler.event?.({ type: 'signal', signal: 'TERM' });
  expect(client.refused).toMatchObject({ code: 'rate_limited' });
});

test('a client gets its credit back when the node has taken the bytes, not before', async () => {
  const { client, node, handler, join } = joined();
  await join();
  const room = Promise.withResolvers<void>();
  node.room = room.promise;
  for (let i = 0; i < 1_000; i++) handler.data?.(Channel.STDIN, Buffer.from('x'));
  expect(client.consumed).toBe(0);
  room.resolve();
  await room.promise;
  expect(client.consumed).toBe(1_000);
});
