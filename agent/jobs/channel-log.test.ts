import { mkdtempSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { removeAll } from '../../src/lib/remove-all.ts';
import { ChannelLog } from './channel-log.ts';
import { LogReader } from './log-reader.ts';

let directory: string;
beforeEach(() => void (directory = mkdtempSync(path.join(tmpdir(), 'mbx-log-'))));
afterEach(() => removeAll(directory));

const logOf = (failed: (error: unknown) => void, segmentBytes = 1_000_000): ChannelLog =>
  new ChannelLog({
    directory,
    ready: Promise.resolve(),
    name: 'stdout',
    segmentBytes,
    changed: () => undefined,
    failed,
  });
const unreachable = (error: unknown): void => expect.unreachable(String(error));
/** The disk refuses the file that begins at this offset. */
const refuse = (offset: number): void =>
  symlinkSync(path.join(directory, 'none', 'such'), path.join(directory, `stdout.${offset}`));

/** Everything that can be read from an offset on: text and gaps. */
async function read(log: ChannelLog, offset: number): Promise<(string | [from: number, to: number])[]> {
  const reader = new LogReader(log, offset);
  const pieces: (string | [from: number, to: number])[] = [];
  for (let piece = await reader.next(); piece !== null; piece = await reader.next()) {
    pieces.push('lost' in piece ? [piece.lost.from, piece.lost.to] : Buffer.from(piece.bytes).toString());
  }
  await reader.close();
  return pieces;
}

test('output that arrives while a file is being closed is written too', async () => {
  const log = logOf(unreachable);
  // Each chunk arrives while the previous one's file is being closed.
  for (let i = 1; i <= 50; i++) {
    await log.append(Buffer.from('abcdefghij'));
    expect(log.written).toBe(10 * i);
  }
  await log.close();
  expect(readFileSync(path.join(directory, 'stdout.0'), 'utf8')).toBe('abcdefghij'.repeat(50));
});

test('output refused by the disk is lost and not reported as kept, and later output is kept', async () => {
  const errors: unknown[] = [];
  const log = logOf((error) => errors.push(error));
  refuse(0);
  await log.append(Buffer.from('refused'));
  expect([errors.length, log.start, log.written, log.diskBytes]).toEqual([1, 7, 7, 0]);
  await log.append(Buffer.from('kept'));
  await log.lost(20);
  refuse(20);
  await log.append(Buffer.from('refused'));
  await log.append(Buffer.from('the rest'));
  expect([errors.length, log.start, log.written]).toEqual([2, 7, 35]);
  const all = [[0, 7], 'kept', [11, 27], 'the rest'];
  expect(await read(log, 0)).toEqual(all);
  expect(await read(log, 3)).toEqual([[3, 7], ...all.slice(1)]);
  expect(await read(log, 9)).toEqual(['pt', ...all.slice(2)]);
  expect(await read(log, 35)).toEqual([]);
  await log.close();

  const next = logOf(unreachable);
  await next.load();
  expect([next.start, next.written]).toEqual([7, 35]);
  expect(await read(next, 0)).toEqual(all);
});

test('a final chunk refused by the disk is lost too', async () => {
  const log = logOf(() => undefined);
  await log.append(Buffer.from('kept'));
  await log.lost(10);
  refuse(10);
  await log.append(Buffer.from('refused'));
  expect(await read(log, 0)).toEqual(['kept', [4, 17]]);
  expect([log.dropOldest(), log.start]).toEqual([true, 17]);
  await log.close();
});

test('segments have the requested size, the oldest is dropped first, and other files are ignored', async () => {
  for (const other of ['stdout.x', 'stdout.', 'stdout.7777777777777777', 'stderr.0', 'xstdout.1']) {
    writeFileSync(path.join(directory, other), 'another');
  }
  const log = logOf(unreachable, 4);
  await log.load();
  for (const text of ['abcd', 'efg', 'hi', 'j']) await log.append(Buffer.from(text));
  expect([log.start, log.diskBytes]).toEqual([0, 3 * 4096]);
  expect(readFileSync(path.join(directory, 'stdout.4'), 'utf8')).toBe('efghi');
  expect([log.dropOldest(), log.start]).toEqual([true, 4]);
  expect(await read(log, 0)).toEqual([[0, 4], 'efghi', 'j']);
  expect([log.dropOldest(), log.dropOldest(), log.dropOldest()]).toEqual([true, true, false]);
  expect([log.start, log.written]).toEqual([10, 10]);
  await log.append(Buffer.from('k'));
  expect(await read(log, 0)).toEqual([[0, 10], 'k']);
  await log.close();
});

test('gaps, which hostile code can produce at will, create a bounded number of files', async () => {
  const log = logOf(unreachable);
  for (let i = 0; i < 100; i++) {
    await log.append(Buffer.from('x'));
    await log.lost(log.written + 1);
  }
  expect(log.diskBytes).toBe(64 * 4096);
  expect([log.start, log.written]).toEqual([72, 200]);
  await log.close();
});
