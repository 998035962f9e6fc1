import { describe, expect, test } from 'vitest';
import type { MuxStream } from '../../../../mux/index.ts';
import { ServiceError } from '../../../../protocol/errors.ts';
import { Channel } from '../../../../protocol/frames.ts';
import { wholeCharacters } from './events.ts';
import { Input } from './input.ts';
import { CallDeduplicator } from './call-deduplicator.ts';
import { Output, type Event } from './output.ts';

/** The end of a stream that takes this many bytes and then breaks, or takes all. */
function wire(limit = Infinity): { stream: MuxStream; got: () => Buffer } {
  const chunks: Buffer[] = [];
  let bytes = 0;
  let closed = false;
  const stream = {
    get closed() {
      return closed;
    },
    write(channel: number, chunk: Uint8Array) {
      // For a terminal too, as docs/protocol.md says.
      expect(channel).toBe(Channel.STDIN);
      if (closed) return undefined;
      const kept = Buffer.from(chunk).subarray(0, Math.max(0, limit - bytes));
      chunks.push(kept);
      bytes += kept.length;
      if (bytes >= limit) closed = true;
      return Promise.resolve();
    },
  };
  return { stream: stream as unknown as MuxStream, got: () => Buffer.concat(chunks) };
}

describe('input', () => {
  const text = Buffer.from(Array.from({ length: 300_000 }, (_, n) => n % 251));

  test.each([0, 1, 65_536, 150_000, 299_999])(
    'loses and duplicates nothing when a stream breaks after %i bytes',
    async (cut) => {
      const input = new Input();
      const first = wire(cut);
      input.connected(first.stream, 0);
      const pieces = [text.subarray(0, 100_000), text.subarray(100_000, 200_000), text.subarray(200_000)];
      const writing = Promise.all(pieces.map((piece) => input.write(piece)));
      await new Promise((resolve) => setImmediate(resolve));
      input.disconnected();
      const second = wire();
      input.connected(second.stream, first.got().length);
      await writing;
      const last = Buffer.from('last');
      await input.write(last);
      const all = Buffer.concat([first.got(), second.got()]);
      expect(all.equals(Buffer.concat([text, last]))).toBe(true);
    },
  );

  test('that was received but is no longer kept causes a failure, not a gap', async () => {
    const input = new Input();
    input.connected(wire().stream, 0);
    for (let i = 0; i < 40; i++) await input.write(Buffer.alloc(100_000));
    input.disconnected();
    input.connected(wire().stream, 0);
    await expect(input.write(Buffer.from('x'))).rejects.toMatchObject({ code: 'interrupted' });
  });

  test('that nobody takes is bounded', async () => {
    const input = new Input();
    const waiting = input.write(Buffer.alloc(8 * 1024 * 1024));
    await expect(input.write(Buffer.from('x'))).rejects.toMatchObject({ code: 'rate_limited' });
    input.fail(new ServiceError('exec_not_found'));
    await expect(waiting).rejects.toMatchObject({ code: 'exec_not_found' });
  });
});

describe('output', () => {
  const signal = new AbortController().signal;
  const push = (output: Output, text: string, taken: string[]): void =>
    output.push('stdout', Buffer.from(text), () => taken.push(text));

  test('continues with the next listener, from what the last one has not taken', async () => {
    const output = new Output();
    const taken: string[] = [];
    for (const text of ['a', 'b', 'c']) push(output, text, taken);
    const first = output.listen(signal);
    expect(await first.next()).toMatchObject({ value: { bytes: Buffer.from('a') } });
    expect(await first.next()).toMatchObject({ value: { bytes: Buffer.from('b') } });
    await first.return(undefined);
    expect(taken).toEqual(['a']);
    output.finish(3, null);
    const rest: Event[] = [];
    for await (const event of output.listen(signal)) rest.push(event);
    expect(rest.map((event) => (event.kind === 'data' ? event.bytes.toString() : event.kind))).toEqual([
      'b',
      'c',
      'end',
    ]);
    for await (const event of output.listen(signal)) expect(event).toMatchObject({ kind: 'end', exitCode: 3 });
  });

  test('in small pieces is merged while nobody takes it, keeps its order across channels, and is taken once', async () => {
    const output = new Output();
    let taken = 0;
    const take = (bytes: number): void => void (taken += bytes);
    const bytes = 64 * 1024;
    for (let at = 0; at < bytes; at++) output.push('stdout', Buffer.from([at & 255]), take);
    const first = output.listen(signal);
    const seen = await first.next();
    // Bytes that arrive after a listener has seen an event are not added to it.
    output.push('stdout', Buffer.from('more'), take);
    output.push('stderr', Buffer.from('aside'), take);
    await first.return(undefined);
    expect(taken).toBe(0);
    output.finish(0, null);
    const events: Event[] = [];
    for await (const event of output.listen(signal)) events.push(event);
    expect(events[0]).toEqual(seen.value);
    const data = events.flatMap((event) => (event.kind === 'data' ? [event] : []));
    expect(data.length).toBeLessThan(10);
    const of = (channel: string): Buffer =>
      Buffer.concat(data.filter((event) => event.channel === channel).map((event) => event.bytes));
    expect(
      of('stdout')
        .subarray(0, bytes)
        .every((byte, at) => byte === (at & 255)),
    ).toBe(true);
    expect([of('stdout').subarray(bytes).toString(), of('stderr').toString()]).toEqual(['more', 'aside']);
    expect(taken).toBe(bytes + 9);
  });

  test('has one listener: a new one takes over', async () => {
    const output = new Output();
    const first = output.listen(signal).next();
    const second = output.listen(signal).next();
    await expect(first).rejects.toMatchObject({ code: 'cancelled' });
    output.finish(0, null);
    expect(await second).toMatchObject({ value: { kind: 'end' } });
  });

  test("ends at the listener's signal, and reports a failure of the session", async () => {
    const output = new Output();
    const gone = new AbortController();
    const waiting = output.listen(gone.signal).next();
    gone.abort();
    expect(await waiting).toMatchObject({ done: true });
    expect(output.listening).toBe(false);
    output.fail(new ServiceError('sandbox_ended'));
    await expect(output.listen(signal).next()).rejects.toMatchObject({ code: 'sandbox_ended' });
  });
});

test('keeps characters intact however the bytes are cut, on each channel separately', async () => {
  const text = 'aä€😀\u0000z';
  const bytes = Buffer.from(text);
  async function* events(): AsyncGenerator<Event> {
    for (const byte of bytes) {
      yield { kind: 'data', channel: 'stdout', bytes: Buffer.from([byte]) };
      yield { kind: 'data', channel: 'stderr', bytes: Buffer.from([byte]) };
    }
    yield { kind: 'data', channel: 'stdout', bytes: Buffer.from([0xf0, 0x9f]) };
    yield { kind: 'end', exitCode: 0, signal: null };
  }
  const seen = { stdout: '', stderr: '', pty: '' };
  for await (const event of wholeCharacters(events())) {
    if (event.kind === 'data') seen[event.channel] += new TextDecoder().decode(event.bytes);
  }
  expect(seen.stderr).toBe(text);
  expect(seen.stdout).toBe(`${text}\ufffd`);
});

test('one key is one call: repetitions share its answer, and a failure leaves the key free', async () => {
  const once = new CallDeduplicator();
  let calls = 0;
  const work = async (): Promise<void> => {
    calls += 1;
    await Promise.resolve();
    if (calls === 1) throw new Error('failed');
  };
  await expect(once.run('k', work)).rejects.toThrow('failed');
  await Promise.all([once.run('k', work), once.run('k', work)]);
  await once.run('k', work);
  expect(calls).toBe(2);
  await once.run(undefined, work);
  await once.run(undefined, work);
  expect(calls).toBe(4);
});
