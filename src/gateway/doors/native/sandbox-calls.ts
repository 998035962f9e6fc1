/**
 * Creates and deletes as streams of a client's WebSocket. A burst of them arrives in a few reads and is answered in a few
 * writes, where over HTTP each one takes a connection, or waits for one.
 */
import * as z from 'zod';
import type { Json, MuxStream, StreamHandler } from '../../../mux/index.ts';
import { ServiceError } from '../../../protocol/errors.ts';
import { checkKey } from '../../../protocol/idempotency-key.ts';
import { CreateSandboxRequest } from '../../../protocol/sandbox.ts';
import type { Caller } from '../../auth/auth.ts';
import { check } from '../../http/route.ts';
import type { Services } from '../../services.ts';

/** The answer to a batch might be larger than a frame. */
const OneSandbox = CreateSandboxRequest.omit({ count: true });
const DeleteOpen = z.strictObject({ op: z.literal('delete'), sandbox: z.string().max(128) });

/** As `POST /v1/sandboxes`, of one sandbox. */
export function openCreate(stream: MuxStream, { tenant }: Caller, services: Services): StreamHandler {
  return answered(stream, tenant, services, async () => {
    const { op: _op, key, ...spec } = stream.request;
    const request = check(OneSandbox, spec, 'body');
    const [made] = await services.sandboxes.create(tenant, request, checkKey(key, 'key'));
    if (made === undefined) throw new ServiceError('internal', 'nothing was created');
    return made;
  });
}

/** As `DELETE /v1/sandboxes/{id}`. */
export function openDelete(stream: MuxStream, { tenant }: Caller, services: Services): StreamHandler {
  return answered(stream, tenant, services, async () => {
    const { sandbox: id } = check(DeleteOpen, stream.request, 'open');
    await services.unknownIds.wait(id);
    return await services.sandboxes.delete(tenant, id);
  });
}

/**
 * Does the work when it is its turn, and ends the stream with the outcome, which counts like that of an HTTP call. If the
 * stream is gone before that, there is nobody who could use it, and it is not done.
 * @throws ServiceError `rate_limited`
 */
function answered(
  stream: MuxStream,
  tenant: string,
  { bursts, heldRequests, log, metrics }: Services,
  work: () => Promise<Json>,
): StreamHandler {
  const askedAt = performance.now();
  const count = (status: number): void => metrics.answered(status, performance.now() - askedAt);
  const begin = (): void =>
    void work().then(
      (sandbox) => {
        stream.accept(sandbox);
        stream.end();
        count(200);
      },
      (thrown: unknown) => {
        const error = ServiceError.from(thrown);
        if (error.code === 'internal')
          log.error({ err: error.cause ?? error, op: stream.request['op'] }, 'a call failed');
        stream.refuse(error);
        count(error.httpStatus);
      },
    );
  const release = heldRequests.hold(tenant, stream.requestBytes);
  try {
    const leave = bursts.enter(tenant, begin);
    return {
      closed: () => {
        leave();
        release();
      },
    };
  } catch (error) {
    release();
    throw error;
  }
}
