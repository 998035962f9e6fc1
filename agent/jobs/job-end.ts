/** Waiting for the end of a job without reading it. */
import { resolvesWithin } from '../../src/lib/deadline.ts';
import type { Job } from './job.ts';

/** Resolves once the job, which has begun, is over, and after `ms` at the latest. */
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
