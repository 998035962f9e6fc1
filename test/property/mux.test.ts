import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FrameType } from '../../src/protocol/frames.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import { World, type Recorder, type Side } from './mux-model.ts';

type Step =
  | { do: 'open'; side: boolean }
  | { do: 'write'; who: number; channel: number; bytes: number }
  | { do: 'event'; who: number }
  | { do: 'stall' | 'resume' | 'end' | 'reset'; who: number }
  | { do: 'deliver'; times: number };

const who = fc.nat(40);
const step = (withResets: boolean): fc.Arbitrary<Step> =>
  fc.oneof(
    { weight: 3, arbitrary: fc.record({ do: fc.constant('open' as const), side: fc.boolean() }) },
    {
      weight: 10,
      arbitrary: fc.record({
        do: fc.constant('write' as const),
        who,
        channel: fc.integer({ min: 0, max: 5 }),
        bytes: fc.oneof(fc.nat(300), fc.nat(200_000)),
      }),
    },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('event' as const), who }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('stall' as const, 'resume' as const), who }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('end' as const), who }) },
    { weight: withResets ? 1 : 0, arbitrary: fc.record({ do: fc.constant('reset' as const), who }) },
    { weight: 6, arbitrary: fc.record({ do: fc.constant('deliver' as const), times: fc.integer({ min: 1, max: 8 }) }) },
  );

/** Chunk lengths that repeat for ever: tiny ones split headers. */
const pieces = fc.array(fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1_000, max: 70_000 })), {
  minLength: 1,
  maxLength: 6,
});
const splitter = (lengths: number[]): ((left: number) => number) => {
  let i = 0;
  // Large messages in tiny chunks would take for ever and show nothing new.
  return (left) => Math.max(lengths[i++ % lengths.length]!, left >> 5);
};

function everyEnd(world: World): Recorder[] {
  return [world.a, world.b].flatMap((side) => [...side.ends, ...side.accepted.values()]);
}

let counter = 0;
async function play(world: World, steps: Step[]): Promise<void> {
  for (const s of steps) {
    const ends = everyEnd(world);
    if (s.do === 'open') world.open(s.side ? world.a : world.b);
    else if (s.do === 'deliver') for (let i = 0; i < s.times; i++) await world.step(i);
    else if (ends.length > 0) act(ends[s.who % ends.length]!, s);
  }
}

function act(end: Recorder, s: Exclude<Step, { do: 'open' | 'deliver' }>): void {
  switch (s.do) {
    case 'write':
      return end.write(s.channel, Buffer.alloc(s.bytes, (counter += 1)));
    case 'event':
      return end.event({ n: (counter += 1) });
    case 'stall':
      end.stalled = true;
      return;
    case 'resume':
      end.stalled = false;
      return end.release();
    case 'end':
      return end.end();
    case 'reset':
      return end.stream.reset(new ServiceError('cancelled'));
  }
}

/** Both ends of every stream, the sending end first. */
function* directions(world: World): Generator<[sender: Recorder, receiver: Recorder, Side]> {
  for (const [opener, responder] of [
    [world.a, world.b],
    [world.b, world.a],
  ] as const) {
    for (const end of opener.ends) {
      const other = responder.accepted.get(end.stream.id);
      if (other === undefined) continue;
      yield [end, other, opener];
      yield [other, end, responder];
    }
  }
}

const RUNS = { numRuns: 80 };
/** Generous: a busy machine is ten times slower. */
const LIMIT_MS = 240_000;

describe('the multiplexer', { timeout: LIMIT_MS }, () => {
  it('loses nothing and keeps each stream in order, however it is opened, written and stalled, and the bytes are split', async () => {
    await fc.assert(
      fc.asyncProperty(
        pieces,
        fc.boolean(),
        fc.array(step(false), { minLength: 20, maxLength: 120 }),
        async (lengths, deep, steps) => {
          const world = new World(splitter(lengths), deep);
          await play(world, steps);
          for (const end of everyEnd(world)) {
            end.stalled = false;
            end.release();
          }
          await world.settle();
          for (const end of everyEnd(world)) end.end();
          await world.settle();
          for (const [sender, receiver] of directions(world)) expect(receiver.received).toEqual(sender.written);
          for (const end of everyEnd(world)) expect([end.closedWith, end.closedTimes]).toEqual([null, 1]);
          expect([world.a.mux.stats.streams, world.b.mux.stats.streams]).toEqual([0, 0]);
          expect([world.a.closedWith, world.b.closedWith]).toEqual([undefined, undefined]);
        },
      ),
      RUNS,
    );
  });

  it('never rests while a stream with data has credit', async () => {
    await fc.assert(
      fc.asyncProperty(
        pieces,
        fc.boolean(),
        fc.array(step(false), { minLength: 20, maxLength: 120 }),
        async (lengths, deep, steps) => {
          const world = new World(splitter(lengths), deep);
          await play(world, steps);
          await world.settle();
          for (const [sender, receiver, side] of directions(world)) {
            const other = side === world.a ? world.b : world.a;
            if (sender.waiting > 0) {
              expect(receiver.stalled).toBe(true);
              expect(side.out.creditOf(sender.stream.id, other.out)).toBe(0);
            }
            expect(side.out.creditOf(0, other.out)).toBeGreaterThanOrEqual(512 * 1024);
          }
        },
      ),
      RUNS,
    );
  });

  it('delivers a prefix, and closes each end once, when streams are reset and the link is cut', async () => {
    await fc.assert(
      fc.asyncProperty(
        pieces,
        fc.boolean(),
        fc.array(step(true), { minLength: 20, maxLength: 120 }),
        async (lengths, deep, steps) => {
          const world = new World(splitter(lengths), deep);
          await play(world, steps);
          world.link.cut();
          await world.settle();
          for (const [sender, receiver] of directions(world)) {
            const got = receiver.received.join('|');
            expect(sender.written.join('|').startsWith(got)).toBe(true);
          }
          for (const end of everyEnd(world)) {
            expect(end.closedTimes).toBe(1);
            expect([undefined, 'cancelled', 'interrupted']).toContain(end.closedWith?.code);
          }
          expect([world.a.closedWith?.code, world.b.closedWith?.code]).toEqual(['interrupted', 'interrupted']);
          for (const end of everyEnd(world)) expect(end.waiting).toBe(0);
        },
      ),
      RUNS,
    );
  });

  it('lets a stalled reader block its own stream and no other', async () => {
    const world = new World((left) => left);
    const stalled = world.open(world.a);
    const others = Array.from({ length: 20 }, () => world.open(world.a));
    await world.settle();
    world.b.accepted.get(stalled.stream.id)!.stalled = true;
    const block = Buffer.alloc(50_000, 1);
    for (let round = 0; round < 30; round++) {
      for (const end of [stalled, ...others]) end.write(1, block);
      await world.settle();
    }
    await world.settle();
    const got = (end: Recorder): number => world.a.out.spent.get(end.stream.id) ?? 0;
    expect(got(stalled)).toBe(256 * 1024);
    for (const end of others) {
      expect(end.waiting).toBe(0);
      expect(got(end)).toBe(30 * block.length);
    }
  });

  it('continues as soon as the link has credit again, if nothing else was missing', async () => {
    const world = new World((left) => left, true);
    const ends = Array.from({ length: 6 }, () => world.open(world.a));
    await world.settle();
    for (const end of world.b.accepted.values()) end.stalled = true;
    for (const end of ends) end.write(1, Buffer.alloc(200_000, 1));
    await world.settle();
    for (const end of ends) expect(world.a.out.spent.get(end.stream.id)).toBe(200_000);
  });

  it('is fair: between two blocks of one busy stream every other busy stream has had its turn', async () => {
    const world = new World((left) => left);
    const ends = Array.from({ length: 8 }, () => world.open(world.a));
    await world.settle();
    const before = world.a.out.frames.length;
    for (let round = 0; round < 3; round++) for (const end of ends) end.write(1, Buffer.alloc(120_000, 1));
    await world.settle();
    const order = world.a.out.frames.slice(before).filter((f) => f.type === FrameType.DATA);
    const totals = new Map<number, number>(ends.map((end) => [end.stream.id, 0]));
    // The first batch is filled by whoever writes first to an idle link.
    let contended = false;
    for (const frame of order) {
      totals.set(frame.stream, totals.get(frame.stream)! + frame.payload.length);
      contended ||= [...totals.values()].every((n) => n > 0);
      if (contended && [...totals.values()].every((n) => n < 100_000)) {
        expect(Math.max(...totals.values()) - Math.min(...totals.values())).toBeLessThanOrEqual(120_000 + 2 * 16_384);
      }
    }
  });

  it('sends a control frame ahead of all queued data', async () => {
    const world = new World((left) => left);
    const busy = world.open(world.a);
    await world.settle();
    for (let i = 0; i < 4; i++) busy.write(1, Buffer.alloc(120_000, 1));
    const before = world.a.out.frames.length;
    const late = world.open(world.a);
    await world.settle();
    const after = world.a.out.frames.slice(before);
    const at = after.findIndex((f) => f.type === FrameType.OPEN && f.stream === late.stream.id);
    const dataBefore = after.slice(0, at).reduce((n, f) => n + f.payload.length, 0);
    expect(dataBefore).toBeLessThanOrEqual(256 * 1024);
  });
});
