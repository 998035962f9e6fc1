/** A sandbox's start command: a background exec with an id that everybody knows. */
import type { Logger } from '../../src/lib/logger.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import { DEFAULT_KILL_GRACE_MS, DEFAULT_RING_BYTES, MAX_TIMEOUT_MS } from '../../src/protocol/limits.ts';
import type { SupervisorExec } from '../../src/protocol/supervisor.ts';
import type { Sandbox } from './sandbox.ts';

const DETACHED = new ServiceError('cancelled', 'detached');
export const START_COMMAND_ID = 'start';

export function runStartCommand(sandbox: Sandbox, log: Logger): void {
  const script = sandbox.spec?.startCommand ?? null;
  const link = sandbox.launched?.link;
  if (script === null || link === undefined) return;
  const request: SupervisorExec = {
    op: 'exec',
    id: START_COMMAND_ID,
    script,
    env: sandbox.env,
    cwd: sandbox.image?.workdir ?? '/',
    ...(sandbox.image === null || sandbox.image.user === '' ? {} : { user: sandbox.image.user }),
    stdin: false,
    killGraceMs: DEFAULT_KILL_GRACE_MS,
    ringBytes: DEFAULT_RING_BYTES,
    detachedMs: MAX_TIMEOUT_MS,
    background: true,
  };
  try {
    const stream = link.open(
      { ...request },
      {
        // It runs by itself from here on.
        opened: () => stream.reset(DETACHED),
        closed: (error) => {
          if (error !== null && error !== DETACHED) {
            log.warn({ sandbox: sandbox.id, code: error.code }, 'the start command of a sandbox did not start');
          }
        },
      },
    );
  } catch (error) {
    log.warn({ sandbox: sandbox.id, err: error }, 'the start command of a sandbox did not start');
  }
}
