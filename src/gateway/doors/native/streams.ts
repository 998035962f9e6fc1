/** Streams that a client opens on its WebSocket: validated, then joined to a stream of the sandbox's node. */
import * as z from 'zod';
import type { Json, MuxStream, StreamHandler } from '../../../mux/index.ts';
import { ServiceError } from '../../../protocol/errors.ts';
import { AttachOpen, ExecOpen } from '../../../protocol/exec.ts';
import { FileCall } from '../../../protocol/files.ts';
import { ID_PATTERN, newExecId } from '../../../protocol/ids.ts';
import type { NodeOpen } from '../../../protocol/node.ts';
import type { Caller } from '../../auth/auth.ts';
import { check } from '../../http/route.ts';
import type { Services } from '../../services.ts';
import { relay, type RelayObserver } from '../../streams/relay.ts';
import type { EventStreams } from './events.ts';
import { openCreate, openDelete } from './sandbox-calls.ts';

const PortOpen = z.strictObject({ op: z.literal('port'), sandbox: z.string(), port: z.int().min(1).max(65_535) });

/** @throws ServiceError, which refuses the stream. */
export function openStream(stream: MuxStream, caller: Caller, services: Services, events: EventStreams): StreamHandler {
  const { request } = stream;
  switch (request['op']) {
    case 'exec':
      return openExec(stream, caller, services);
    case 'attach': {
      const attach = check(AttachOpen, request, 'open');
      return counted(services.execs.attach(caller.tenant), (closed) =>
        join(stream, caller, services, attach, { closed }),
      );
    }
    case 'file': {
      const { op: _op, sandbox, ...call } = request;
      return join(stream, caller, services, {
        op: 'file',
        sandbox: check(z.string(), sandbox, 'open.sandbox'),
        ...check(FileCall, call, 'open'),
      });
    }
    case 'port':
      return join(stream, caller, services, check(PortOpen, request, 'open'));
    case 'events':
      return events.open(stream, caller.tenant);
    case 'create':
      return openCreate(stream, caller, services);
    case 'delete':
      return openDelete(stream, caller, services);
    default:
      throw new ServiceError('invalid_request', 'open.op: one of exec, attach, file, port, events, create, delete');
  }
}

function openExec(stream: MuxStream, caller: Caller, services: Services): StreamHandler {
  const request = check(ExecOpen, stream.request, 'open');
  const ways = [request.command, request.argv, request.scriptBytes].filter((way) => way !== undefined);
  if (ways.length !== 1) throw new ServiceError('invalid_request', 'open: one of command, argv and scriptBytes');
  const id = request.id ?? newExecId();
  if (!ID_PATTERN.test(id)) throw new ServiceError('invalid_request', 'open.id: not an exec id');
  return counted(services.execs.enter(caller.tenant), (leave) =>
    join(
      stream,
      caller,
      services,
      { ...request, id },
      {
        opened: (answer) => ({ ...answer, execId: id }),
        closed: () => {
          leave();
          services.metrics.streamed();
        },
      },
    ),
  );
}

/** @param leave called by the stream at its end; here, if there will be none */
function counted(leave: () => void, open: (leave: () => void) => StreamHandler): StreamHandler {
  try {
    return open(leave);
  } catch (error) {
    leave();
    throw error;
  }
}

function join(
  stream: MuxStream,
  { tenant }: Caller,
  { sandboxes }: Services,
  request: NodeOpen & { sandbox: string },
  observer: RelayObserver = {},
): StreamHandler {
  const node = sandboxes.locateNow(tenant, request.sandbox);
  if (node?.requests.isBusy === false)
    return relay(stream, { now: (handler) => node.open(request, handler) }, observer);
  // The call waits here for a node or its link, and then perhaps on the node for its sandbox; `queueMs` is the sum.
  const askedAt = performance.now();
  let waitedMs = 0;
  const opened = (answer: Json): Json => {
    const all = typeof answer['queueMs'] === 'number' ? { ...answer, queueMs: answer['queueMs'] + waitedMs } : answer;
    return observer.opened?.(all) ?? all;
  };
  const later = async (handler: StreamHandler, signal: AbortSignal): Promise<MuxStream> => {
    const found = await sandboxes.locate(tenant, request.sandbox, signal);
    await found.requests.turn(tenant, signal);
    waitedMs = performance.now() - askedAt;
    return found.open(request, handler);
  };
  return relay(stream, { later }, { ...observer, opened });
}
