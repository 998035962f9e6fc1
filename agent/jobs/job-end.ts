/** Waiting for the end of a job without reading it. */
import type { Job } from './job.ts';

/** Resolves once the job, which has begun, is over, and after `ms` at the latest. */
export async function untilOver(job: Job, ms: number): Promise<void> {
  const over = Promise.withResolvers<void>();
  const look = (): void => {
    if (job.exit !== null || job.failure !== null) over.resolve();
  };
  const listener = { changed: look, cut: look };
  job.listen(listener);
  const timer = setTimeout(over.resolve, ms);
  look();
  await over.promise;
  clearTimeout(timer);
  job.leave(listener);
}
