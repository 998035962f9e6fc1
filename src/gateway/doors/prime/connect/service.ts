/** `command_session.CommandSession` over the services. */
import { create } from '@bufbuild/protobuf';
import { Code, ConnectError, createContextKey, type HandlerContext, type ServiceImpl } from '@connectrpc/connect';
import { orAbort } from '../../../../lib/deadline.ts';
import { ServiceError } from '../../../../protocol/errors.ts';
import { ExecRequest } from '../../../../protocol/exec.ts';
import { newExecId } from '../../../../protocol/ids.ts';
import { MAX_TIMEOUT_MS } from '../../../../protocol/limits.ts';
import { programOf, type Program } from '../../../execs/program.ts';
import { check } from '../../../http/route.ts';
import type { PrimeContext } from '../context.ts';
import { toConnectError } from './codes.ts';
import {
  ConnectResponseSchema,
  ListResponseSchema,
  SendInputResponseSchema,
  SendSignalResponseSchema,
  StartResponseSchema,
  type CommandSession,
  type CommandSessionEvent,
  type CommandSessionSelector,
  type CommandSpec,
  type StartRequest,
} from './command-session.gen.ts';
import { startEvent, toMessage, wholeCharacters } from './events.ts';
import { Session } from './session.ts';
import type { Kept, Sessions } from './sessions.ts';

/** Which sandbox the address of a call names. */
export const SANDBOX_KEY = createContextKey('', { description: 'sandbox of the address' });

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const KILL_GRACE_MS = 1_000;
/** The node kills in time for the client to hear of it from us and not from its own clock. */
const DEADLINE_MARGIN_MS = 100;
/** How long a command goes on when this gateway itself is gone. */
const DETACHED_MS = 300_000;
const SIGNALS = { 9: 'KILL', 15: 'TERM' } as const;

export function commandSession(
  context: PrimeContext,
  sessions: Sessions,
  resumeMs: number,
): ServiceImpl<typeof CommandSession> {
  const { services, tokens } = context;

  const identify = (ctx: HandlerContext): { tenant: string; sandbox: string } => {
    const sandbox = ctx.values.get(SANDBOX_KEY);
    const { tenant } = tokens.check(ctx.requestHeader.get('authorization') ?? undefined, sandbox);
    return { tenant, sandbox };
  };

  const startSession = (tenant: string, sandbox: string, request: StartRequest, timeoutMs: number | null): Kept => {
    const { command, sessionUuid } = request;
    if (command === undefined) throw new ServiceError('invalid_request', 'command is missing');
    const uuid = sessionUuid ?? null;
    if (uuid !== null && !UUID.test(uuid))
      throw new ServiceError('invalid_request', 'session_uuid is no canonical UUID');
    const print = JSON.stringify([command.cmd, command.args, command.envs, command.cwd, command.user, request.stdin]);
    const known = uuid === null ? undefined : sessions.byUuid(sandbox, uuid);
    if (known !== undefined) {
      if (known.request === print) return known;
      throw new ServiceError('idempotency_conflict', 'This session_uuid was used with another command.');
    }
    const program = programFor(command, request, {
      sandbox,
      id: uuid ?? newExecId(),
      timeoutMs: uuid === null ? timeoutMs : null,
    });
    const leave = services.execs.enter(tenant);
    const session = new Session({ execs: services.execs, tenant, program, resumeMs });
    void session.over.then(leave);
    return sessions.add(session, { uuid, request: print, command });
  };

  /** A session of this gateway, or of one that is no more. */
  const find = async (tenant: string, sandbox: string, selector: CommandSessionSelector | undefined): Promise<Kept> => {
    const by = selector?.selector;
    const none = (): ServiceError => new ServiceError('exec_not_found', 'There is no such session.');
    if (by?.case === 'pid') {
      const kept = sessions.byPid(sandbox, by.value);
      if (kept === undefined) throw none();
      return kept;
    }
    if (by?.case !== 'sessionUuid') throw new ServiceError('invalid_request', 'say which session: pid or session_uuid');
    const id = by.value;
    const here = (): Kept | undefined => sessions.byUuid(sandbox, id);
    const known = here();
    if (known !== undefined) return known;
    const states = await services.execs.list(tenant, sandbox, [id]);
    const state = states.find((each) => each.execId === id);
    if (state === undefined) throw none();
    return here() ?? takeOver(tenant, sandbox, id, { stdout: state.stdoutBytes, stderr: state.stderrBytes });
  };

  const takeOver = (tenant: string, sandbox: string, id: string, attach: { stdout: number; stderr: number }): Kept => {
    const open = { op: 'exec' as const, sandbox, id, stdin: true };
    const program = { open, script: null, stdin: null, limitMs: null };
    const session = new Session({ execs: services.execs, tenant, program, resumeMs, attach });
    return sessions.add(session, { uuid: id, request: '', command: { cmd: '', args: [] } });
  };

  async function* follow(kept: Kept, ctx: HandlerContext, text: boolean): AsyncGenerator<CommandSessionEvent> {
    const { session } = kept;
    sessions.heard(kept);
    // Here too: a generator whose reader went away in the middle of an event is never told to go on, nor to end.
    // A moment later: the session hears of it too, and then counts this stream no more.
    const gone = (): void => queueMicrotask(() => sessions.unheard(kept));
    ctx.signal.addEventListener('abort', gone, { once: true });
    try {
      yield startEvent(await orAbort(ctx.signal, session.started));
      const events = session.listen(ctx.signal);
      for await (const event of text ? wholeCharacters(events) : events) {
        if (event.kind === 'end' && session.timedOut)
          throw new ServiceError('deadline_exceeded', 'The command took too long.');
        yield toMessage(event);
      }
      if (ctx.signal.aborted) throw ConnectError.from(ctx.signal.reason, Code.Canceled);
    } catch (thrown) {
      throw toConnectError(thrown);
    } finally {
      ctx.signal.removeEventListener('abort', gone);
      sessions.unheard(kept);
    }
  }

  return {
    async *start(request, ctx) {
      const kept = await guarded(() => {
        const { tenant, sandbox } = identify(ctx);
        return startSession(tenant, sandbox, request, timeoutOf(ctx));
      });
      const text = request.stdin !== true && request.pty === undefined;
      for await (const event of follow(kept, ctx, text)) yield create(StartResponseSchema, { event });
    },

    async *connect(request, ctx) {
      const kept = await guarded(() => {
        const { tenant, sandbox } = identify(ctx);
        return find(tenant, sandbox, request.session);
      });
      for await (const event of follow(kept, ctx, false)) yield create(ConnectResponseSchema, { event });
    },

    list: (_request, ctx) =>
      guarded(() => {
        const { tenant, sandbox } = identify(ctx);
        services.sandboxes.get(tenant, sandbox);
        const running = [...sessions.of(sandbox)].filter(({ session, pid }) => session.running && pid !== null);
        return create(ListResponseSchema, {
          sessions: running.map(({ command, pid, uuid }) => ({
            command: { cmd: command.cmd, args: [...command.args] },
            pid: pid ?? 0,
            ...(uuid === null ? {} : { sessionUuid: uuid }),
          })),
        });
      }),

    sendInput: (request, ctx) =>
      guarded(async () => {
        const { tenant, sandbox } = identify(ctx);
        const { session } = await find(tenant, sandbox, request.session);
        const bytes = request.input?.input.value;
        if (bytes === undefined) throw new ServiceError('invalid_request', 'input is missing');
        await session.inputs.run(request.inputUuid, () => session.write(Buffer.from(bytes)));
        return create(SendInputResponseSchema);
      }),

    sendSignal: (request, ctx) =>
      guarded(async () => {
        const { tenant, sandbox } = identify(ctx);
        const { session } = await find(tenant, sandbox, request.session);
        const name = SIGNALS[request.signal as keyof typeof SIGNALS] as 'KILL' | 'TERM' | undefined;
        if (name === undefined) throw new ServiceError('invalid_request', 'only signals 9 and 15 can be sent');
        await session.signals.run(request.signalUuid, () => session.signal(name, name === 'KILL'));
        return create(SendSignalResponseSchema);
      }),
  };
}

async function guarded<T>(work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (thrown) {
    throw toConnectError(thrown);
  }
}

function timeoutOf(ctx: HandlerContext): number | null {
  const left = ctx.timeoutMs();
  return left === undefined ? null : Math.min(MAX_TIMEOUT_MS, Math.max(1, Math.floor(left - DEADLINE_MARGIN_MS)));
}

interface Where {
  sandbox: string;
  id: string;
  timeoutMs: number | null;
}

/** `bash -c TEXT` is a script for the shell, whatever its length, and for `sh` where there is no bash. */
function programFor(command: CommandSpec, request: StartRequest, { sandbox, id, timeoutMs }: Where): Program {
  const [flag, text, ...more] = command.args;
  const script =
    /^(\/bin\/|\/usr\/bin\/)?bash$/.test(command.cmd) && flag === '-c' && text !== undefined && more.length === 0;
  const fields = {
    ...(script ? { command: text === '' ? ':' : text, shell: 'bash' } : { argv: [command.cmd, ...command.args] }),
    ...(command.cwd ? { cwd: command.cwd } : {}),
    ...(command.user ? { user: command.user } : {}),
    env: command.envs,
    ...(timeoutMs === null ? {} : { timeoutMs }),
    killGraceMs: KILL_GRACE_MS,
  };
  const program = programOf({ ...check(ExecRequest, fields, 'command') }, { sandbox, id, detachedMs: DETACHED_MS });
  const size = request.pty?.size;
  return {
    ...program,
    open: {
      ...program.open,
      ...(timeoutMs === null ? { timeoutMs: MAX_TIMEOUT_MS } : {}),
      stdin: request.stdin === true || request.pty !== undefined,
      ...(size === undefined ? {} : { pty: { cols: Math.max(1, size.cols), rows: Math.max(1, size.rows) } }),
    },
  };
}
