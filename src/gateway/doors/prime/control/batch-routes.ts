import * as z from 'zod';
import { ERRORS, ServiceError } from '../../../../protocol/errors.ts';
import { isEnded, type SandboxStatus } from '../../../../protocol/sandbox.ts';
import { check } from '../../../http/route.ts';
import type { Services } from '../../../services.ts';
import type { PrimeContext } from '../context.ts';
import { readWindow } from '../data/read-file.ts';
import { errorTypeOf } from '../view.ts';
import type { Answer, ControlRoute } from './route.ts';

const MAX_BATCH = 100;
const StatusBatch = z.object({ sandbox_ids: z.array(z.string().max(128)).min(1).max(MAX_BATCH) });
const Job = z.object({ sandbox_id: z.string().max(128), job_id: z.string().regex(/^[\w-]{1,64}$/, 'not a job id') });
const JobBatch = z.object({ jobs: z.array(Job).min(1).max(MAX_BATCH) });
type Job = z.infer<typeof Job>;

const MAX_EXIT_BYTES = 64;

export function batchRoutes(context: PrimeContext): ControlRoute[] {
  return [
    [
      'POST',
      '/sandbox/status::batchGet',
      async ({ tenant, body }) => {
        const { sandbox_ids: ids } = check(StatusBatch, body, 'body');
        return split(await Promise.all(ids.map((id) => statusOf(context, tenant, id))));
      },
    ],
    [
      'POST',
      '/sandbox/background-jobs/status::batchGet',
      async ({ tenant, body }) => {
        const { jobs } = check(JobBatch, body, 'body');
        return split(await Promise.all(jobs.map((job) => jobStatus(context, tenant, job))));
      },
    ],
  ];
}

/** An answer with a code is an error. */
function split(answers: readonly Answer[]): Answer {
  return {
    statuses: answers.filter((answer) => answer['code'] === undefined),
    errors: answers.filter((answer) => answer['code'] !== undefined),
  };
}

/** @throws ServiceError for what is no answer: a gateway that has just started does not know what there is. */
async function statusOf({ services, config }: PrimeContext, tenant: string, id: string): Promise<Answer> {
  try {
    const sandbox = await services.sandboxes.wait(tenant, id, { waitMs: config.holdStatusMs });
    return {
      sandbox_id: id,
      status: sandbox.status,
      error_type: errorTypeOf(sandbox),
      error_message: sandbox.message,
      pending_image_build_id: null,
    };
  } catch (thrown) {
    const error = ServiceError.from(thrown);
    // Clients take this code for the end of the sandbox.
    if (error.code === 'sandbox_not_found') return { sandbox_id: id, code: 'NOT_FOUND', message: error.message };
    throw error;
  }
}

/**
 * Clients implement a job as files in the sandbox; it is complete once its exit code file is written.
 * @throws ServiceError as `statusOf`
 */
async function jobStatus({ services }: PrimeContext, tenant: string, job: Job): Promise<Answer> {
  const named = { sandbox_id: job.sandbox_id, job_id: job.job_id };
  const failed = (code: string, message: string): Answer => ({ ...named, code, message });
  const status = statusNow(services, tenant, job.sandbox_id);
  if (status === null) return failed('NOT_FOUND', ERRORS.sandbox_not_found.message);
  if (isEnded(status)) return failed('NOT_RUNNING', 'The sandbox has ended.');
  try {
    const window = { path: `/tmp/job_${job.job_id}.exit`, offset: 0, length: MAX_EXIT_BYTES };
    const { bytes } = await readWindow(services.files, tenant, job.sandbox_id, window);
    const text = bytes.toString('latin1').trim();
    const completed = /^-?\d{1,10}$/.test(text);
    return { ...named, completed, exit_code: completed ? Number(text) : null };
  } catch (thrown) {
    const error = ServiceError.from(thrown);
    if (error.code === 'file_not_found') return { ...named, completed: false, exit_code: null };
    if (error.code === 'sandbox_not_found') return failed('NOT_FOUND', error.message);
    if (error.code === 'sandbox_ended') return failed('NOT_RUNNING', error.message);
    return failed('RUNTIME_ERROR', error.message);
  }
}

/** Null: there is no such sandbox. @throws ServiceError when that is not known. */
function statusNow({ sandboxes }: Services, tenant: string, id: string): SandboxStatus | null {
  try {
    return sandboxes.get(tenant, id).status;
  } catch (thrown) {
    const error = ServiceError.from(thrown);
    if (error.code === 'sandbox_not_found') return null;
    throw error;
  }
}
