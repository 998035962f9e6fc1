import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeFrame } from '../../src/protocol/frames.ts';
import { FrameParser } from '../../src/mux/parser.ts';

interface Golden {
  name: string;
  type: number;
  flags: number;
  channel: number;
  stream: number;
  payloadHex: string;
  hex: string;
}
const golden = JSON.parse(readFileSync(new URL('../golden/frames.json', import.meta.url), 'utf8')) as Golden[];

type Parsed = Omit<Golden, 'name' | 'hex'>;

/** Parses chunks, joins the pieces of each DATA frame, and overwrites each chunk after it was passed on. */
function parse(chunks: Uint8Array[]): Parsed[] {
  const frames: Parsed[] = [];
  const parser = new FrameParser({
    control(type, flags, channel, stream, payload) {
      frames.push({ type, flags, channel, stream, payloadHex: Buffer.from(payload).toString('hex') });
      return true;
    },
    dataHeader(channel, stream) {
      frames.push({ type: 5, flags: 0, channel, stream, payloadHex: '' });
      return true;
    },
    dataBytes(bytes) {
      frames.at(-1)!.payloadHex += Buffer.from(bytes).toString('hex');
      return true;
    },
  });
  for (const chunk of chunks) {
    const lent = new Uint8Array(chunk);
    parser.push(lent);
    lent.fill(0xee);
  }
  return frames;
}

const expected = golden.map(({ type, flags, channel, stream, payloadHex }) => ({
  type,
  flags,
  channel,
  stream,
  payloadHex,
}));
const wire = Buffer.from(golden.map((g) => g.hex).join(''), 'hex');

describe('the codec', () => {
  it.each(golden)('writes the golden bytes of: $name', ({ type, flags, channel, stream, payloadHex, hex }) => {
    const bytes = encodeFrame({ type, flags, channel, stream, payload: Buffer.from(payloadHex, 'hex') });
    expect(Buffer.from(bytes).toString('hex')).toBe(hex);
  });

  it('reads the golden bytes', () => {
    expect(parse([wire])).toEqual(expected);
  });

  it('parses the same from single bytes', () => {
    expect(parse(Array.from(wire, (byte) => Uint8Array.of(byte)))).toEqual(expected);
  });

  it('parses the same however the bytes are split', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: wire.length }), { maxLength: 60 }), (cuts) => {
        const at = [0, ...cuts.sort((a, b) => a - b), wire.length];
        expect(parse(at.slice(1).map((end, i) => wire.subarray(at[i], end)))).toEqual(expected);
      }),
    );
  });
});
