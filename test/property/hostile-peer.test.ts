import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Channel, FLAG_OPTIONAL, FrameType, encodeFrame, writeHeader } from '../../src/protocol/frames.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import { createMux, memoryPair, type MuxStream } from '../../src/mux/index.ts';
import { Direction } from './wire-observer.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const frame = (type: number, stream: number, payload: Uint8Array = Buffer.alloc(0), channel = 0, flags = 0) =>
  encodeFrame({ type, flags, channel, stream, payload });
const HELLO = frame(FrameType.HELLO, 0, json({ generation: 1 }));
const OPEN = frame(FrameType.OPEN, 2, json({ op: 'x' }));

/** A listener whose peer sends anything it likes: the mux under test has dialled it. */
function victim(options: { maxStreams?: number; onOpen?: (stream: MuxStream) => void } = {}) {
  const link = memoryPair();
  const said = new Direction();
  link.b.start(
    (chunk) => said.take(chunk, new Direction()),
    () => undefined,
  );
  let closedWith: ServiceError | null | undefined;
  const ends: { error: ServiceError | null }[] = [];
  const mux = createMux({
    transport: link.a,
    role: 'dialler',
    hello: {},
    onHello: () => undefined,
    onOpen: (stream) => {
      options.onOpen?.(stream);
      return { closed: (error) => ends.push({ error }) };
    },
    onClose: (error) => (closedWith = error),
    pingIntervalMs: 0,
    ...(options.maxStreams === undefined ? {} : { maxStreams: options.maxStreams }),
  });
  const ours = mux.open({ op: 'ours' }, { closed: (error) => ends.push({ error }) });
  return {
    mux,
    ours,
    said,
    ends,
    closed: () => closedWith,
    async say(...chunks: Uint8Array[]) {
      for (const chunk of chunks) {
        link.b.send(chunk, () => undefined);
        await turn();
      }
      await turn();
    },
  };
}

describe('a hostile peer', { timeout: 240_000 }, () => {
  it.each<[string, Uint8Array[]]>([
    ['does not begin with HELLO', [OPEN]],
    ['sends DATA before HELLO', [frame(FrameType.DATA, 1, Buffer.alloc(3))]],
    ['sends a HELLO that is no JSON', [frame(FrameType.HELLO, 0, Buffer.from('{'))]],
    ['says HELLO twice', [HELLO, HELLO]],
    ['sends type 0', [HELLO, frame(0, 0)]],
    ['sends an unknown type', [HELLO, frame(77, 0)]],
    ['sends an unknown type in a stream', [HELLO, OPEN, frame(77, 2)]],
    ['opens a stream of the wrong parity', [HELLO, frame(FrameType.OPEN, 3, json({}))]],
    ['opens a stream twice', [HELLO, OPEN, OPEN]],
    ['opens ids downwards', [HELLO, frame(FrameType.OPEN, 8, json({})), frame(FrameType.OPEN, 6, json({}))]],
    ['opens stream 0', [HELLO, frame(FrameType.OPEN, 0, json({}))]],
    ['sends data to a stream never opened', [HELLO, frame(FrameType.DATA, 44, Buffer.alloc(3))]],
    ['resets a stream never opened', [HELLO, frame(FrameType.RESET, 44, json({}))]],
    ['sends data on stream 0', [HELLO, frame(FrameType.DATA, 0, Buffer.alloc(3))]],
    ['gives the link too much credit', [HELLO, frame(FrameType.CREDIT, 0, Buffer.from('00100000', 'hex'))]],
    ['gives the link no credit', [HELLO, frame(FrameType.CREDIT, 0, Buffer.alloc(4))]],
    ['gives credit of three bytes', [HELLO, frame(FrameType.CREDIT, 0, Buffer.alloc(3))]],
    ['sends a long PING', [HELLO, frame(FrameType.PING, 0, Buffer.alloc(65))]],
    [
      'breaks a stream twice',
      [
        HELLO,
        OPEN,
        frame(FrameType.DATA, 2, Buffer.alloc(1), 99),
        frame(FrameType.OPEN, 4, json({})),
        frame(FrameType.DATA, 4, Buffer.alloc(1), 99),
      ],
    ],
  ])('that %s loses the link with protocol_error', async (_what, chunks) => {
    const v = victim();
    await v.say(...chunks);
    expect(v.closed()?.code).toBe('protocol_error');
    expect(v.ours.closed).toBe(true);
    expect(v.mux.stats.streams).toBe(0);
    expect(v.said.frames.at(-1)).toMatchObject({ type: FrameType.RESET, stream: 0 });
  });

  it.each([
    [FrameType.DATA, 64 * 1024 + 1],
    [FrameType.DATA, 0xffff_ffff],
    [FrameType.EVENT, 1024 * 1024 + 1],
    [FrameType.OPEN, 0x8000_0000],
    [200, 0xffff_ffff],
  ])(
    'that announces a frame of type %i with %i bytes loses the link before a byte of it is read',
    async (type, length) => {
      const v = victim();
      const header = new Uint8Array(12);
      writeHeader(header, 0, type, FLAG_OPTIONAL, 0, 2, length);
      await v.say(HELLO, OPEN, header);
      expect(v.closed()?.code).toBe('protocol_error');
    },
  );

  it.each<[string, Uint8Array[]]>([
    ['sends beyond its credit', Array.from({ length: 5 }, () => frame(FrameType.DATA, 2, Buffer.alloc(64 * 1024), 1))],
    [
      'sends on a channel after its FIN',
      [frame(FrameType.FIN, 2, undefined, 1), frame(FrameType.DATA, 2, Buffer.alloc(1), 1)],
    ],
    [
      'sends an event after FIN ALL',
      [frame(FrameType.FIN, 2, undefined, Channel.ALL), frame(FrameType.EVENT, 2, json({}))],
    ],
    [
      'sends FIN ALL twice',
      [frame(FrameType.FIN, 2, undefined, Channel.ALL), frame(FrameType.FIN, 2, undefined, Channel.ALL)],
    ],
    ['accepts what it opened itself', [frame(FrameType.OPENED, 2, json({}))]],
    ['gives too much credit', [frame(FrameType.CREDIT, 2, Buffer.from('00000001', 'hex'))]],
    ['sends an event that is a list', [frame(FrameType.EVENT, 2, json([1]))]],
    ['sends an event that is no JSON', [frame(FrameType.EVENT, 2, Buffer.from('{"a":'))]],
    ['sends a HELLO within a stream', [frame(FrameType.HELLO, 2, json({}))]],
  ])('that %s loses that stream and keeps the link', async (_what, chunks) => {
    // The consumer consumes nothing, so no credit is returned.
    const v = victim();
    const kept: MuxStream[] = [];
    v.mux.close();
    const w = victim({ onOpen: (stream) => kept.push(stream) });
    await w.say(HELLO, OPEN);
    Object.assign((kept[0] as unknown as { handler: object }).handler, { data: () => undefined });
    await w.say(...chunks);
    expect(w.ends.map((end) => end.error?.code)).toEqual(['protocol_error']);
    expect(w.closed()).toBeUndefined();
    expect(w.ours.closed).toBe(false);
  });

  it('is answered before OPENED only with what the protocol allows', async () => {
    const v = victim();
    await v.say(HELLO, frame(FrameType.DATA, 1, Buffer.alloc(1)));
    expect(v.ends[0]?.error?.code).toBe('protocol_error');
    expect(v.closed()).toBeUndefined();
  });

  it.each([
    ['a list', '[1]'],
    ['half an object', '{'],
    ['text that is not UTF-8', Buffer.from('{"name":"a\xffb"}', 'latin1')],
  ])('that requests with %s is refused, and keeps the link', async (_what, request) => {
    const v = victim();
    await v.say(HELLO, frame(FrameType.OPEN, 2, Buffer.from(request)));
    const refused = v.said.frames.filter((f) => f.type === FrameType.REFUSED);
    expect(refused.map((f) => [f.stream, (JSON.parse(f.payload.toString()) as { code: string }).code])).toEqual([
      [2, 'protocol_error'],
    ]);
    expect(v.closed()).toBeUndefined();
  });

  it('may open a bounded number of streams', async () => {
    const v = victim({ maxStreams: 3 });
    await v.say(HELLO, ...[2, 4, 6, 8].map((id) => frame(FrameType.OPEN, id, json({}))));
    expect(v.mux.stats.streams).toBe(4);
    const refused = v.said.frames.filter((f) => f.type === FrameType.REFUSED);
    expect(refused.map((f) => [f.stream, (JSON.parse(f.payload.toString()) as { code: string }).code])).toEqual([
      [8, 'rate_limited'],
    ]);
  });

  it('has data for closed streams counted against the link, and credited', async () => {
    const v = victim({ onOpen: (stream) => stream.reset(new ServiceError('cancelled')) });
    await v.say(HELLO, OPEN);
    const block = frame(FrameType.DATA, 2, Buffer.alloc(64 * 1024), 1);
    for (let i = 0; i < 40; i++) await v.say(block);
    expect(v.closed()).toBeUndefined();
    const back = v.said.frames.filter((f) => f.type === FrameType.CREDIT && f.stream === 0);
    expect(back.length).toBe(5);
  });

  it('that requests answers and reads none is disconnected', async () => {
    const v = victim();
    // From now on nothing that the mux sends is read.
    const stuck = memoryPair({ schedule: () => undefined });
    let closedWith: ServiceError | null | undefined;
    let push: (chunk: Uint8Array) => void = () => undefined;
    createMux({
      transport: { send: () => undefined, start: (onBytes) => (push = onBytes), close: () => undefined },
      role: 'dialler',
      hello: {},
      onHello: () => undefined,
      onClose: (error) => (closedWith = error),
      pingIntervalMs: 0,
    });
    push(HELLO);
    const ping = frame(FrameType.PING, 0, Buffer.alloc(64));
    for (let i = 0; i < 100_000 && closedWith === undefined; i++) {
      push(ping);
      if (i % 1_000 === 0) await turn();
    }
    expect(closedWith?.code).toBe('protocol_error');
    v.mux.close();
    stuck.cut();
  });

  it('never makes anything throw, whatever bytes it sends', async () => {
    const randomFrame = fc
      .record({
        type: fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 0, max: 255 })),
        flags: fc.constantFrom(0, 1, 255),
        channel: fc.oneof(fc.integer({ min: 0, max: 6 }), fc.constant(0xffff), fc.integer({ min: 0, max: 0xffff })),
        stream: fc.oneof(fc.integer({ min: 0, max: 6 }), fc.integer({ min: 0, max: 0xffff_ffff })),
        payload: fc.oneof(
          fc.uint8Array({ maxLength: 40 }),
          fc.constantFrom('{}', '[]', 'null', '{"code":"x"}', '{"__proto__":{"a":1}}').map((s) => Buffer.from(s)),
          fc.constantFrom('00000001', '00040000', 'ffffffff').map((s) => Buffer.from(s, 'hex')),
        ),
      })
      .map((f) => encodeFrame(f));
    await fc.assert(
      fc.asyncProperty(
        fc.boolean(),
        fc.array(
          fc.oneof({ weight: 8, arbitrary: randomFrame }, { weight: 1, arbitrary: fc.uint8Array({ maxLength: 60 }) }),
          { maxLength: 30 },
        ),
        async (polite, chunks) => {
          const v = victim();
          if (polite) await v.say(HELLO);
          await v.say(...chunks);
          const error = v.closed();
          if (error !== undefined) {
            expect(error).toBeInstanceOf(ServiceError);
            expect(v.mux.stats.streams).toBe(0);
            expect(v.ours.closed).toBe(true);
          }
          v.mux.close();
          expect(v.ends.every((end) => end.error === null || end.error instanceof ServiceError)).toBe(true);
        },
      ),
      { numRuns: 500 },
    );
    expect(({} as { a?: unknown }).a).toBeUndefined();
  });
});
