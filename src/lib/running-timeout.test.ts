import { expect, test } from 'vitest';
import { silent } from './logger.ts';
import { setRunningTimeout } from './running-timeout.ts';

function standStill(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

test('time during which the process was stalled does not count', async () => {
  const rung = Promise.withResolvers<void>();
  let over = false;
  setRunningTimeout(
    400,
    () => {
      over = true;
      rung.resolve();
    },
    silent,
  );
  await new Promise((resolve) => setTimeout(resolve, 60));
  standStill(1_000);
  // Timers that are due run before this one.
  await new Promise((resolve) => setTimeout(resolve, 0));
  expect(over).toBe(false);
  await rung.promise;
});

test('a cancelled timeout does not fire', async () => {
  let rung = false;
  setRunningTimeout(20, () => (rung = true), silent)();
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(rung).toBe(false);
});

test('an error in the callback is logged, and goes no further', async () => {
  const logged = Promise.withResolvers<object>();
  const error = new Error('no');
  const fail = (): never => {
    throw error;
  };
  setRunningTimeout(20, fail, { ...silent, error: (fields) => logged.resolve(fields) });
  expect(await logged.promise).toEqual({ err: error });
});
