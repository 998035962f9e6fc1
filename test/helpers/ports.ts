/**
 * Ports for tests. Concurrent files take them from disjoint parts of the range: a port that one found free and does not
 * listen on yet is never given to another.
 */
import { freePort as freePortIn, SERVER_PORTS } from '../../src/cli/up/ports.ts';
import { workerNumber } from './config.ts';

/** At least as many as files run concurrently. */
const PARTS = 8;
const SIZE = Math.floor((SERVER_PORTS.last - SERVER_PORTS.first + 1) / PARTS);

export function freePort(host?: string): Promise<number> {
  const first = SERVER_PORTS.first + (workerNumber() % PARTS) * SIZE;
  return freePortIn(host, { first, last: first + SIZE - 1 });
}
