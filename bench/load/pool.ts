/** The warm pools, as the operators' API shows them. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Operator } from '../../src/cli/io/operator.ts';
import { settle } from './sandboxes.ts';

const FILL_LIMIT_MS = 600_000;
/**
 * Longer than a refill and a removal take. The API's view of pools is up to a second old, and does not include those.
 */
const REST_MS = 250;

/** Resolves once this many containers are warm, over all pools and nodes. */
export async function poolReady(operator: Operator, warm: number): Promise<void> {
  await settle(async () => (await operator.warm()) >= warm, FILL_LIMIT_MS, `filling the pool to ${warm}`);
}

/** Resolves once nodes are idle: a refill in progress would distort whatever is measured. */
export async function atRest(operator: Operator, warm: number): Promise<void> {
  await sleep(REST_MS);
  await poolReady(operator, warm);
}
