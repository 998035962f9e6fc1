/** Commands that take several items. */
import { ServiceError, type ErrorCode } from '../../protocol/errors.ts';
import { describeFailure } from './failure.ts';

/** They concern the caller or the gateway, so every other item would fail in the same way. */
const OF_ALL: ReadonlySet<ErrorCode> = new Set(['unauthenticated', 'forbidden', 'draining']);

/**
 * Does the work for one item after the other. An item that fails is reported and keeps no other from being done; the
 * command then exits with 1. @throws what the only item failed with, and failures that all items would have
 */
export async function forEach(items: readonly string[], work: (item: string) => Promise<void>): Promise<void> {
  for (const item of items) {
    try {
      await work(item);
    } catch (error) {
      if (items.length === 1 || isOfAll(error)) throw error;
      process.stderr.write(`millibox: ${item}: ${describeFailure(error)}\n`);
      process.exitCode = 1;
    }
  }
}

/** An answer of the service about a node has no cause on this side of the wire; that nobody answers has one. */
const isOfAll = (error: unknown): boolean =>
  !(error instanceof ServiceError) ||
  OF_ALL.has(error.code) ||
  (error.code === 'node_unavailable' && error.cause !== undefined);
