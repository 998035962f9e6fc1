/** The warm pools, seen through the operator's API. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Operator } from '../../src/cli/io/operator.ts';
import { settle } from './sandboxes.ts';

const FILL_LIMIT_MS = 600_000;
/** Longer than a refill and a burial take. What the API tells of pools is up to a second old, and does not show them. */
const REST_MS = 250;

/** Resolves once so many containers wait, over all pools and nodes. */
export async function poolReady(operator: Operator, warm: number): Promise<void> {
  await settle(async () => (await operator.warm()) >= warm, FILL_LIMIT_MS, `filling the pool to ${warm}`);
}

/** Resolves once nodes have nothing to do: a refill under way would be measured with whatever runs beside it. */
export async function atRest(operator: Operator, warm: number): Promise<void> {
  await sleep(REST_MS);
  await poolReady(operator, warm);
}
