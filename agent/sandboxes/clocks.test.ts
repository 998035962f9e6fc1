/** A gateway and a node whose clocks differ. */
import { expect, test } from 'vitest';
import type { SandboxRecord } from '../../src/protocol/node.ts';
import { Harness, newSpec } from '../testing/harness.ts';

const HOUR = 3_600_000;
const SLACK_MS = 60_000;

const leftMs = ({ expiresAtMs }: SandboxRecord): number => expiresAtMs - Date.now();

for (const aheadMs of [-3 * HOUR, 3 * HOUR]) {
  const says = aheadMs > 0 ? 'ahead' : 'behind';
  /** What a gateway whose clock is off by this much sends for a lifetime of this length. */
  const sent = (lifeMs: number, waitedMs = 0) => {
    const now = Date.now() + aheadMs;
    return newSpec({ createdAtMs: now - waitedMs, expiresAtMs: now + lifeMs, sentAtMs: now });
  };

  test(`a lifetime is as long as requested by a gateway whose clock is ${says}`, async () => {
    await using h = await Harness.fake();
    const [long, short] = [sent(HOUR, 5_000), sent(100)];
    const record = await h.client.create(long);
    expect(record.createdAtMs).toBe(long.createdAtMs);
    expect(Math.abs(leftMs(record) - HOUR)).toBeLessThan(SLACK_MS);
    expect(record.timings.placedMs).toBe(5_000);
    await h.client.create(short);
    await h.reaches(short.id, 'TIMEOUT');
    await h.reaches(long.id, 'RUNNING');
    const { claimedMs = 0, runningMs = 0 } = h.record(long.id).timings;
    for (const ms of [claimedMs, runningMs]) expect(Math.abs(ms - 5_000)).toBeLessThan(SLACK_MS);
  });

  test(`an extension is as long as requested by a gateway whose clock is ${says}`, async () => {
    await using h = await Harness.fake();
    const { id } = await h.sandbox();
    const sentAtMs = Date.now() + aheadMs;
    await h.client.call({ op: 'extend', sandbox: id, expiresAtMs: sentAtMs + 2 * HOUR, sentAtMs });
    expect(Math.abs(leftMs(h.record(id)) - 2 * HOUR)).toBeLessThan(SLACK_MS);
    await h.restart();
    expect(Math.abs(leftMs(h.record(id)) - 2 * HOUR)).toBeLessThan(SLACK_MS);
  });
}

test("without the gateway's time, the node's clock is used", async () => {
  await using h = await Harness.fake();
  const spec = newSpec({ createdAtMs: Date.now() - 5_000 });
  const record = await h.client.create(spec);
  expect(record.expiresAtMs).toBe(spec.expiresAtMs);
  const expiresAtMs = Date.now() + 2 * HOUR;
  await h.client.call({ op: 'extend', sandbox: spec.id, expiresAtMs });
  expect(h.record(spec.id).expiresAtMs).toBe(expiresAtMs);
});
