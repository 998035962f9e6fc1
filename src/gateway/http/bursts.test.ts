import { setImmediate as nextTurn } from 'node:timers/promises';
import { fastify } from 'fastify';
import { expect, test } from 'vitest';
import { Bursts, paceBursts } from './bursts.ts';

test('calls of a burst are begun over several turns of the event loop, and other calls in between', async () => {
  await using app = fastify();
  paceBursts(app, new Bursts(), () => 'tenant');
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

test('no more than so many of a tenant wait; what has left the line makes room', () => {
  const bursts = new Bursts();
  const waiting = () => bursts.enter('a', () => undefined);
  for (let i = 0; i < 8; i++) waiting();
  const leave = Array.from({ length: 16_384 }, waiting);
  expect(waiting).toThrow(expect.objectContaining({ code: 'rate_limited', retryAfterMs: 2_000 }) as Error);
  bursts.enter('b', () => undefined);
  leave[0]?.();
  expect(waiting).not.toThrow();
});
