import { setImmediate as nextTurn } from 'node:timers/promises';
import { fastify } from 'fastify';
import { expect, test } from 'vitest';
import { createBursts, paceBursts } from './bursts.ts';

test('calls of a burst are begun over several turns of the event loop, and other calls in between', async () => {
  await using app = fastify();
  paceBursts(app, createBursts());
  const begun = { burst: 0, other: 0 };
  app.post('/burst', { config: { bursts: true } }, () => ({ place: ++begun.burst }));
  app.post('/other', () => ({ place: ++begun.other }));
  await app.ready();
  const hundred = (url: string) => Array.from({ length: 100 }, () => app.inject({ method: 'POST', url, payload: {} }));
  const burst = hundred('/burst');
  const others = hundred('/other');
  for (let turn = 0; turn < 4; turn++) await nextTurn();
  expect(begun.burst).toBeGreaterThan(0);
  expect(begun.burst).toBeLessThan(60);
  expect(begun.other).toBe(100);
  // First come, first served.
  const places = (await Promise.all(burst)).map((answer) => answer.json<{ place: number }>().place);
  expect(places).toEqual(places.map((_, i) => i + 1));
  await Promise.all(others);
});
