import { expect, test } from 'vitest';
import { RequestLine } from './request-line.ts';

const { signal } = new AbortController();

/** A link on which requests make a crowd of two, until some of them have been sent. */
function road() {
  let waiting = 0;
  let told: (() => void)[] = [];
  return {
    get crowded() {
      return waiting >= 2;
    },
    room: () => new Promise<void>((resolve) => told.push(resolve)),
    take: () => void waiting++,
    send: (count: number) => {
      waiting -= count;
      for (const resolve of told.splice(0)) resolve();
    },
    lose: () => {
      waiting = 0;
      for (const resolve of told.splice(0)) resolve();
    },
  };
}

const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
};

test('requests go at once while the link has room; then tenants take turns, and no more go than fit', async () => {
  const link = road();
  const line = new RequestLine(() => link);
  const gone: string[] = [];
  const ask = async (tenant: string, name: string): Promise<void> => {
    await line.turn(tenant, signal);
    link.take();
    gone.push(name);
  };
  await ask('a', 'a1');
  await ask('a', 'a2');
  expect(line.isBusy).toBe(true);
  const all = [...['a3', 'a4', 'a5'].map((name) => ask('a', name)), ask('b', 'b1')];
  await settle();
  expect(gone).toEqual(['a1', 'a2']);
  link.send(1);
  await settle();
  expect(gone).toEqual(['a1', 'a2', 'a3']);
  link.send(2);
  await settle();
  expect(gone).toEqual(['a1', 'a2', 'a3', 'b1', 'a4']);
  link.lose();
  await Promise.all(all);
  await settle();
  expect(line.isBusy).toBe(false);
});

test('whoever gives up waiting takes no turn', async () => {
  const link = road();
  const line = new RequestLine(() => link);
  link.take();
  link.take();
  const giveUp = new AbortController();
  const first = line.turn('a', giveUp.signal);
  const second = line.turn('a', signal);
  giveUp.abort(new Error('enough'));
  await expect(first).rejects.toThrow('enough');
  link.send(1);
  await second;
});

test('without a link nobody waits', async () => {
  const line = new RequestLine(() => null);
  expect(line.isBusy).toBe(false);
  await line.turn('a', signal);
});
