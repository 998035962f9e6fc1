import { expect, test } from 'vitest';
import { feed } from './pump.ts';

async function* pieces(...all: (string | Error)[]): AsyncGenerator<Buffer> {
  for (const piece of all) {
    if (piece instanceof Error) throw piece;
    yield Buffer.from(piece);
  }
}

function command(takes = Infinity) {
  const taken: string[] = [];
  let closed = false;
  const write = async (bytes: Buffer): Promise<void> => {
    if (taken.length >= takes) throw new Error('the command has ended');
    taken.push(bytes.toString());
    await Promise.resolve();
  };
  return { write, closeStdin: () => void (closed = true), taken, closed: () => closed };
}

test('stdin is closed at its end, and when the command stops reading', async () => {
  const reader = command();
  await feed(pieces('a', 'b'), reader);
  expect([reader.taken, reader.closed()]).toEqual([['a', 'b'], true]);
  const quitter = command(1);
  await feed(pieces('a', 'b'), quitter);
  expect([quitter.taken, quitter.closed()]).toEqual([['a'], true]);
});

test('a stdin that breaks off is a failure, not an end', async () => {
  const reader = command();
  await expect(feed(pieces('a', new Error('EIO')), reader)).rejects.toThrow('EIO');
  expect([reader.taken, reader.closed()]).toEqual([['a'], false]);
});
