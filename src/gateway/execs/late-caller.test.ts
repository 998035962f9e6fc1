/** A caller with an idempotency key that arrives while the command of earlier callers is being killed. */
import { expect, test } from 'vitest';
import { ServiceError } from '../../protocol/errors.ts';
import { ExecService, type ExecServiceDeps } from './service.ts';

const killed = (): Promise<never> => Promise.reject(new ServiceError('cancelled'));
const parts = {
  sandboxes: { entry: () => ({}) },
  idempotency: { run: killed },
  admission: { enter: () => () => undefined },
  lifecycle: { begin: () => () => undefined },
};

test('is not told that it gave up, but that the outcome is unknown', async () => {
  const execs = new ExecService(parts as unknown as ExecServiceDeps);
  const run = (signal: AbortSignal) =>
    execs.run('tenant', 'sbx-1', { command: 'true', encoding: 'utf8' }, { idempotencyKey: 'key', signal });
  await expect(run(new AbortController().signal)).rejects.toMatchObject({ code: 'interrupted' });
  await expect(run(AbortSignal.abort())).rejects.toMatchObject({ code: 'cancelled' });
});
