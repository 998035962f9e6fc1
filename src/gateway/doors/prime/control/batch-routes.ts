import * as z from 'zod';
import { ServiceError } from '../../../../protocol/errors.ts';
import { isEnded, type SandboxStatus } from '../../../../protocol/sandbox.ts';
import { check } from '../../../http/route.ts';
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

/** The result for one sandbox or job. */
interface Finding {
  answer: Answer;
  /** Set if this gateway does not know whether the sandbox exists; `answer` then has clients ask again. */
  unsure?: ServiceError;
}

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

/**
 * An answer with a code is an error; clients take any error for the end of the sandbox or job.
 * @throws ServiceError if nothing is known of any: a gateway that has just started does not know what exists
 */
function split(findings: readonly Finding[]): Answer {
  const [first] = findings;
  if (first?.unsure !== undefined && findings.every(({ unsure }) => unsure !== undefined)) throw first.unsure;
  const answers = findings.map(({ answer }) => answer);
  return {
    statuses: answers.filter((answer) => answer['code'] === undefined),
    errors: answers.filter((answer) => answer['code'] !== undefined),
  };
}

async function statusOf({ services, config }: PrimeContext, tenant: string, id: string): Promise<Finding> {
  const snapshot = (status: SandboxStatus, type: string | null, message: string | null): Answer => ({
    sandbox_id: id,
    status,
    error_type: type,
    error_message: message,
    pending_image_build_id: null,
  });
  try {
    const sandbox = await services.sandboxes.wait(tenant, id, { waitMs: config.holdStatusMs });
    return { answer: snapshot(sandbox.status, errorTypeOf(sandbox), sandbox.message) };
  } catch (thrown) {
    const error = ServiceError.from(thrown);
    if (error.code === 'node_unavailable') return { answer: snapshot('PENDING', null, error.message), unsure: error };
    if (error.code !== 'sandbox_not_found') throw error;
    return { answer: { sandbox_id: id, code: 'NOT_FOUND', message: error.message } };
  }
}

/** Clients implement a job as files in the sandbox; it is complete once its exit code file is written. */
async function jobStatus({ services }: PrimeContext, tenant: string, job: Job): Promise<Finding> {
  const named = { sandbox_id: job.sandbox_id, job_id: job.job_id };
  const failed = (code: string, message: string): Finding => ({ answer: { ...named, code, message } });
  const running = { ...named, completed: false, exit_code: null };
  try {
    const { status } = services.sandboxes.get(tenant, job.sandbox_id);
    if (isEnded(status)) return failed('NOT_RUNNING', 'the sandbox has ended');
  } catch (thrown) {
    const error = ServiceError.from(thrown);
    if (error.code === 'node_unavailable') return { answer: running, unsure: error };
    if (error.code !== 'sandbox_not_found') throw error;
    return failed('NOT_FOUND', error.message);
  }
  try {
    const window = { path: `/tmp/job_${job.job_id}.exit`, offset: 0, length: MAX_EXIT_BYTES };
    const { bytes } = await readWindow(services.files, tenant, job.sandbox_id, window);
    const text = bytes.toString('latin1').trim();
    const completed = /^-?\d{1,10}$/.test(text);
    return { answer: completed ? { ...named, completed, exit_code: Number(text) } : running };
  } catch (thrown) {
    const error = ServiceError.from(thrown);
    // The client keeps polling even where the node is away or busy: any error would end its wait.
    const isBusy = error.retryable || error.code === 'deadline_exceeded';
    if (error.code === 'file_not_found' || isBusy) return { answer: running };
    if (error.code === 'sandbox_not_found') return failed('NOT_FOUND', error.message);
    if (error.code === 'sandbox_ended') return failed('NOT_RUNNING', error.message);
    return failed('RUNTIME_ERROR', error.message);
  }
}
