/** The warm pools, seen through the operator's API. */
import type { Operator } from '../../src/cli/io/operator.ts';
import { settle } from './sandboxes.ts';

const FILL_LIMIT_MS = 600_000;

/** Resolves once so many containers wait, over all pools and nodes. */
export async function poolReady(operator: Operator, warm: number): Promise<void> {
  await settle(async () => (await operator.warm()) >= warm, FILL_LIMIT_MS, `filling the pool to ${warm}`);
}
