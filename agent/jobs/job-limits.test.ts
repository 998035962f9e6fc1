/** How many jobs of a sandbox are kept, and how much disk space they take. The tests play boxinit's side. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { silent } from '../../src/lib/logger.ts';
import type { Job } from './job.ts';
import { Jobs } from './jobs.ts';
import { EXIT, runningSandbox } from './testing/job-streams.ts';

/** Disk space of a job that has written nothing. */
const JOB_BYTES = 8_192;
const MAX_JOBS = 1_000;

let dataDir: string;
let jobs: Jobs | undefined;
beforeEach(() => void (dataDir = mkdtempSync(path.join(tmpdir(), 'mbx-'))));
afterEach(async () => {
  await jobs?.close();
  rmSync(dataDir, { recursive: true, force: true });
});

function playing(totalBytes: number) {
  const limits = { jobBytes: totalBytes, totalBytes };
  const all = new Jobs({ dataDir, limits, hooks: { oomKills: async () => 0 }, log: silent });
  jobs = all;
  const { sandbox, inners } = runningSandbox();
  return {
    start: (id: string): Job => all.start(sandbox, { op: 'exec', sandbox: sandbox.id, id, argv: ['x'] }),
    /** The most recently started command begins, and ends at once. */
    async ends(job: Job): Promise<void> {
      const handler = inners.at(-1)?.handler;
      handler?.opened?.({ pid: 1 });
      await job.attached();
      const changed = Promise.withResolvers<void>();
      job.listen({ changed: () => job.exit !== null && changed.resolve(), cut: () => undefined });
      handler?.event?.(EXIT);
      await changed.promise;
    },
    has: (id: string): boolean => all.find(sandbox.id, id) !== undefined,
    logOf: (id: string): boolean => existsSync(path.join(dataDir, 'jobs', sandbox.id, id)),
  };
}

test('the oldest ended job makes way for a new one, and running jobs are never evicted', async () => {
  const played = playing(MAX_JOBS * MAX_JOBS * JOB_BYTES);
  for (let i = 1; i <= MAX_JOBS; i++) {
    const job = played.start(`job-${i}`);
    if (i === 3 || i === 5) await played.ends(job);
  }
  played.start('job-x');
  expect(['job-1', 'job-3', 'job-5', 'job-x'].map(played.has)).toEqual([true, false, true, true]);
  played.start('job-y');
  expect(['job-1', 'job-5', 'job-y'].map(played.has)).toEqual([true, false, true]);
  expect(() => played.start('job-z')).toThrow('1000 jobs are already running');
  expect(played.has('job-z')).toBe(false);
});

test("jobs that wrote nothing count towards the node's limit, and no more of them are evicted than needed", async () => {
  const played = playing(4 * JOB_BYTES);
  for (let i = 1; i <= 7; i++) await played.ends(played.start(`job-${i}`));
  const kept = [1, 2, 3, 4, 5, 6, 7].filter((i) => played.has(`job-${i}`));
  expect(kept).toEqual([4, 5, 6, 7]);
  await jobs?.close();
  expect([3, 4].map((i) => played.logOf(`job-${i}`))).toEqual([false, true]);
});
