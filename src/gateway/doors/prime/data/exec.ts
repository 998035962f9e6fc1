/** A command over plain JSON: one request, one answer. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import * as z from 'zod';
import { Linked } from '../../../../lib/deadline.ts';
import { ServiceError } from '../../../../protocol/errors.ts';
import { ExecRequest, type ExecResult } from '../../../../protocol/exec.ts';
import { MAX_TIMEOUT_MS } from '../../../../protocol/limits.ts';
import { stringMap } from '../../../../protocol/string-map.ts';
import { clientGone } from '../../../http/client-gone.ts';
import { check } from '../../../http/route.ts';
import type { PrimeContext } from '../context.ts';
import { maybe } from '../control/create.ts';

const Body = z.object({
  command: z.string(),
  working_dir: maybe(z.string()),
  env: maybe(stringMap(z.string(), z.string())),
  timeout: z.number().positive().default(300),
  user: maybe(z.string()),
});

/** Clients wait five seconds beyond the command's timeout; in that time it is killed and the answer sent. */
const KILL_GRACE_MS = 1_000;
const ANSWER_WITHIN_MS = 3_500;
/** More is an error: answers are held in memory on both sides, and clients would take truncated output for complete. */
const MAX_OUTPUT_BYTES = 32 * 1024 * 1024;

/** @throws ServiceError; `deadline_exceeded` is answered with 408. */
export async function execJson(
  { services }: PrimeContext,
  tenant: string,
  sandbox: string,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<Record<string, unknown>> {
  const { command, working_dir: cwd, env, timeout, user } = check(Body, request.body ?? {}, 'body');
  const timeoutMs = Math.min(MAX_TIMEOUT_MS, Math.max(1, Math.round(timeout * 1000)));
  const asked = check(
    ExecRequest,
    {
      // Clients send an empty command to run a shell that does nothing.
      command: command === '' ? ':' : command,
      shell: 'bash',
      ...(cwd === undefined || cwd === '' ? {} : { cwd }),
      ...(env === undefined ? {} : { env }),
      ...(user === undefined || user === '' ? {} : { user }),
      timeoutMs,
      killGraceMs: KILL_GRACE_MS,
      maxOutputBytes: MAX_OUTPUT_BYTES,
    },
    'body',
  );
  // Also bounds the wait for a sandbox that is not running yet.
  using limit = new Linked({
    signal: clientGone(reply),
    deadlineMs: timeoutMs + ANSWER_WITHIN_MS,
    what: 'the command',
  });
  let result: ExecResult;
  try {
    result = await services.execs.run(tenant, sandbox, asked, { signal: limit.signal });
  } catch (thrown) {
    throw limit.signal.aborted ? ServiceError.from(limit.signal.reason) : thrown;
  }
  if (result.timedOut) throw new ServiceError('deadline_exceeded', `the command took longer than ${timeout} s`);
  if (result.truncated.stdout || result.truncated.stderr) {
    throw new ServiceError('body_too_large', `the command wrote more than ${MAX_OUTPUT_BYTES} bytes`);
  }
  return { stdout: result.stdout, stderr: result.stderr, exit_code: result.exitCode };
}
