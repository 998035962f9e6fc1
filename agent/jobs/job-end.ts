/** Waits for a job to end without reading its output. */
import { resolvesWithin } from '../../src/lib/deadline.ts';
import type { Job } from './job.ts';

/** Resolves once the job, which has begun, is over, or after `ms`. */
export async function untilOver(job: Job, ms: number): Promise<void> {
  const over = Promise.withResolvers<void>();
  const look = (): void => {
    if (job.exit !== null || job.failure !== null) over.resolve();
  };
  const listener = { changed: look, cut: look };
  job.listen(listener);
  look();
  await resolvesWithin(over.promise, ms);
  job.leave(listener);
}
