import { expect, test } from 'vitest';
import { setRunningTimeout } from './running-timeout.ts';

function standStill(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

test('time in which the process stood still does not count', async () => {
  const rung = Promise.withResolvers<void>();
  let over = false;
  setRunningTimeout(400, () => {
    over = true;
    rung.resolve();
  });
  await new Promise((resolve) => setTimeout(resolve, 60));
  standStill(1_000);
  // Timers that are due run before this one.
  await new Promise((resolve) => setTimeout(resolve, 0));
  expect(over).toBe(false);
  await rung.promise;
});

test('what was called off does not ring', async () => {
  let rung = false;
  setRunningTimeout(20, () => (rung = true))();
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(rung).toBe(false);
});
