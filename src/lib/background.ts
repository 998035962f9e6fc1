import type { Logger } from './logger.ts';

/** For a promise that nobody awaits: its failure is logged, never lost and never an unhandled rejection. */
export function background(task: Promise<unknown>, what: string, log: Logger): void {
  task.catch((error: unknown) => log.error({ err: error, what }, `background work failed: ${what}`));
}
