import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { addProcessMetrics } from './process-metrics.ts';

const lagOf = async (registry: Registry): Promise<number> => {
  const text = await registry.metrics();
  return Number(/^x_event_loop_lag_seconds\{quantile="1"\} (\S+)$/mu.exec(text)?.[1]);
};

test('a stall of the event loop shows in the next scrape, and in that one only', async () => {
  const registry = new Registry();
  addProcessMetrics(registry, 'x_');
  await lagOf(registry);
  const until = performance.now() + 1_000;
  while (performance.now() < until);
  // Timers that came due meanwhile fire before this one.
  await new Promise((resolve) => setTimeout(resolve, 1));
  const stalled = await lagOf(registry);
  expect(stalled).toBeGreaterThan(0.8);
  expect(await lagOf(registry)).toBeLessThan(stalled);
});

test('memory and CPU time are those of the process', async () => {
  const registry = new Registry();
  addProcessMetrics(registry, 'x_');
  const text = await registry.metrics();
  expect(Number(/^x_memory_bytes (\S+)$/mu.exec(text)?.[1])).toBeGreaterThan(1e6);
  expect(Number(/^x_cpu_seconds (\S+)$/mu.exec(text)?.[1])).toBeGreaterThan(0);
});
