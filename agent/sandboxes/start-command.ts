/** A sandbox's start command: a background command with a fixed id. */
import type { Logger } from '../../src/lib/logger.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import { START_COMMAND_ID } from '../../src/protocol/node.ts';
import type { Jobs } from '../jobs/jobs.ts';
import type { Sandbox } from './sandbox.ts';

export function runStartCommand(sandbox: Sandbox, jobs: Jobs, log: Logger): void {
  const command = sandbox.spec?.startCommand ?? null;
  if (command === null) return;
  const failed = (error: unknown): void => {
    if (sandbox.ended) return;
    const { code } = ServiceError.from(error);
    log.warn({ sandbox: sandbox.id, code }, 'the start command of a sandbox did not start');
  };
  try {
    const job = jobs.start(sandbox, { op: 'exec', sandbox: sandbox.id, id: START_COMMAND_ID, command });
    job.attached().catch(failed);
  } catch (error) {
    failed(error);
  }
}
