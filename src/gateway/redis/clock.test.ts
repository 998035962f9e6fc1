import { expect, test } from 'vitest';
import { RedisClock } from './clock.ts';

/** This process's clocks, and that of a Redis whose messages take this long each way. */
function world() {
  let own = 1_000;
  let redis = 5_000_000;
  const pass = (ms: number): void => {
    own += ms;
    redis += ms;
  };
  const clock = new RedisClock(
    () => own,
    () => 42,
  );
  return {
    clock,
    pass,
    set: (ms: number) => (redis = ms),
    off: () => clock.now() - redis,
    look: (thereMs: number, backMs: number) =>
      clock.look(async () => {
        pass(thereMs);
        const answer = [Math.floor(redis / 1_000), (redis % 1_000) * 1_000];
        pass(backMs);
        return await Promise.resolve(answer);
      }),
  };
}

test("until Redis has answered, it is this machine's wall clock", () => {
  expect(world().clock.now()).toBe(42);
});

test('the error is at most half of the round trip, and a slow answer does not make it worse', async () => {
  const { clock, look, off, pass } = world();
  await look(2, 2);
  expect(off()).toBe(0);
  await look(0, 800);
  expect(off()).toBe(0);
  pass(60_000);
  expect(off()).toBe(0);
  expect(Number.isInteger(clock.now())).toBe(true);
});

test('a clock that was set there is followed', async () => {
  const { look, off, set } = world();
  await look(1, 1);
  set(9_000_000);
  await look(1, 1);
  expect(off()).toBe(0);
});

test('no answer changes nothing', async () => {
  const { clock, look, off } = world();
  await look(1, 1);
  await expect(clock.look(() => Promise.reject(new Error('away')))).rejects.toThrow('away');
  expect(off()).toBe(0);
});
