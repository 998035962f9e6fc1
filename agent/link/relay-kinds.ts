/** How each kind of stream is validated by the relay: exec, attach, file, port. */
import type { Json } from '../../src/mux/index.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import { FileCall } from '../../src/protocol/files.ts';
import { SupervisorAttachOpened, SupervisorExecOpened } from '../../src/protocol/supervisor.ts';
import { firstProblem } from '../../src/lib/schema-problems.ts';
import { readExecEvent, readPlainEvent } from '../supervisor/hostile.ts';
import type { Sandbox } from '../sandboxes/sandbox.ts';
import { parseExec, toSupervisorAttach, toSupervisorExec } from './exec-request.ts';
import { wasOomKill, type OomHooks } from './oom-kills.ts';
import type { LinkRoom } from './link-room.ts';
import type { RelayKind } from './relay.ts';

const MAX_ANSWER_BYTES = 768 * 1024;

export interface ExecHooks extends OomHooks {
  over?(error: ServiceError | null): void;
}

export function execKind(request: Json, hooks: ExecHooks): RelayKind {
  const exec = parseExec(request);
  let pid = 0;
  return {
    request: (sandbox) => toSupervisorExec(exec, sandbox),
    opened: (answer, queueMs) => {
      const opened = read(SupervisorExecOpened, answer);
      ({ pid } = opened);
      return { ...opened, id: exec.id, queueMs: Math.round(queueMs * 1_000) / 1_000 };
    },
    event: (message, sandbox) => completed(message, sandbox, hooks, `${exec.id} ${pid}`),
    takesCommands: true,
    over: (error) => hooks.over?.(error),
  };
}

export function attachKind(request: Json, hooks: ExecHooks): RelayKind {
  const attach = toSupervisorAttach(request);
  let pid = 0;
  return {
    request: () => attach,
    opened: (answer) => {
      const opened = read(SupervisorAttachOpened, answer);
      ({ pid } = opened);
      return opened;
    },
    event: (message, sandbox) => completed(message, sandbox, hooks, `${attach.id} ${pid}`),
    takesCommands: true,
  };
}

export function fileKind(request: Json, linkRoom: LinkRoom): RelayKind {
  const { op: _op, sandbox: _sandbox, ...call } = request;
  const parsed = FileCall.safeParse(call);
  if (!parsed.success) throw new ServiceError('invalid_request', firstProblem(parsed.error));
  return {
    request: (sandbox) => ({
      op: 'file',
      ...parsed.data,
      workdir: sandbox.image?.workdir ?? '/',
      // New files belong to the user that commands run as.
      ...(sandbox.image === null || sandbox.image.user === '' ? {} : { defaultOwner: sandbox.image.user }),
    }),
    opened: bounded,
    accept: (outer, sandbox, answer) => linkRoom.accept(outer, sandbox.record.tenant, answer),
    event: readPlainEvent,
    // A program may change files faster than any link carries the news.
    instead: ({ type }) => (type === 'change' ? { type, kind: 'overflow', path: parsed.data.path } : undefined),
    takes: (message, sandbox) => linkRoom.takes(sandbox.record.tenant, message),
    takesCommands: false,
  };
}

export function portKind(request: Json): RelayKind {
  const { port } = request;
  if (typeof port !== 'number' || !Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new ServiceError('invalid_request', 'not a port');
  }
  return { request: () => ({ op: 'port', port }), opened: bounded, event: () => undefined, takesCommands: false };
}

function bounded(answer: Json): Json {
  if (JSON.stringify(answer).length > MAX_ANSWER_BYTES)
    throw new ServiceError('protocol_error', 'the answer is too long');
  return answer;
}

function read<T>(
  schema: { safeParse(value: unknown): { success: true; data: T } | { success: false } },
  answer: Json,
): T {
  const parsed = schema.safeParse(answer);
  if (!parsed.success) throw new ServiceError('protocol_error', 'the answer cannot be read');
  return parsed.data;
}

/**
 * A death by SIGKILL may be an OOM kill. boxinit compares the kernel's count with that at the command's start, and
 * sets `oomCounted`. If neither it nor the agent can count the kills for a while, the exit stays as it is: only what is
 * known is reported.
 */
function completed(message: Json, sandbox: Sandbox, hooks: ExecHooks, exec: string): Json | undefined | Promise<Json> {
  const event = readExecEvent(message);
  if (event === undefined) return undefined;
  if (event.type !== 'exit' || message['oomCounted'] === true) return { ...event };
  const suspicious = (event.signal === 'KILL' || event.exitCode === 137) && !event.timedOut && !event.oomKilled;
  if (!suspicious) return { ...event };
  return wasOomKill(sandbox, exec, hooks).then((oomKilled) => ({ ...event, oomKilled: oomKilled === true }));
}
