/** `command_session.CommandSession` over the services. */
import { create } from '@bufbuild/protobuf';
import { Code, ConnectError, createContextKey, type HandlerContext, type ServiceImpl } from '@connectrpc/connect';
import { orAbort } from '../../../../lib/deadline.ts';
import { ServiceError } from '../../../../protocol/errors.ts';
import { newExecId } from '../../../../protocol/ids.ts';
import { MAX_TIMEOUT_MS } from '../../../../protocol/limits.ts';
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
  type ConnectRequest,
  type ConnectResponse,
  type ListRequest,
  type ListResponse,
  type SendInputRequest,
  type SendInputResponse,
  type SendSignalRequest,
  type SendSignalResponse,
  type StartRequest,
  type StartResponse,
} from './command-session.gen.ts';
import { startEvent, toMessage, wholeCharacters } from './events.ts';
import { attachProgram, programFor } from './program.ts';
import { Session } from './session.ts';
import type { Kept, Sessions } from './sessions.ts';

/** The sandbox named in the path of a call. */
export const SANDBOX_KEY = createContextKey('', { description: 'sandbox of the path' });

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
/** The node kills early enough for our answer to reach the client before its own clock runs out. */
const DEADLINE_MARGIN_MS = 100;
const SIGNALS: ReadonlyMap<number, 'KILL' | 'TERM'> = new Map([
  [9, 'KILL'],
  [15, 'TERM'],
]);

export interface CommandSessionOptions {
  context: PrimeContext;
  sessions: Sessions;
  /** How long to look for a command after its link was cut. */
  resumeMs: number;
}

/** Who is calling, and for which sandbox. */
interface Target {
  tenant: string;
  sandbox: string;
}

export class CommandSessionService implements ServiceImpl<typeof CommandSession> {
  readonly #context: PrimeContext;
  readonly #sessions: Sessions;
  readonly #resumeMs: number;

  constructor({ context, sessions, resumeMs }: CommandSessionOptions) {
    this.#context = context;
    this.#sessions = sessions;
    this.#resumeMs = resumeMs;
  }

  async *start(request: StartRequest, ctx: HandlerContext): AsyncGenerator<StartResponse> {
    const kept = await asConnect(() => this.#start(this.#identify(ctx), request, timeoutOf(ctx)));
    const isText = request.stdin !== true && request.pty === undefined;
    for await (const event of this.#follow(kept, ctx, isText)) yield create(StartResponseSchema, { event });
  }

  async *connect(request: ConnectRequest, ctx: HandlerContext): AsyncGenerator<ConnectResponse> {
    const kept = await asConnect(() => this.#find(this.#identify(ctx), request.session));
    for await (const event of this.#follow(kept, ctx, false)) yield create(ConnectResponseSchema, { event });
  }

  list(_request: ListRequest, ctx: HandlerContext): Promise<ListResponse> {
    return asConnect(() => {
      const { tenant, sandbox } = this.#identify(ctx);
      this.#context.services.sandboxes.get(tenant, sandbox);
      const running = [...this.#sessions.of(sandbox)].filter(({ session, pid }) => session.running && pid !== null);
      return create(ListResponseSchema, {
        sessions: running.map(({ command, pid, uuid }) => ({
          command: { cmd: command.cmd, args: [...command.args] },
          pid: pid ?? 0,
          ...(uuid === null ? {} : { sessionUuid: uuid }),
        })),
      });
    });
  }

  sendInput(request: SendInputRequest, ctx: HandlerContext): Promise<SendInputResponse> {
    return asConnect(async () => {
      const { session } = await this.#find(this.#identify(ctx), request.session);
      const bytes = request.input?.input.value;
      if (bytes === undefined) throw new ServiceError('invalid_request', 'input is missing');
      await session.inputs.run(request.inputUuid, () => session.write(Buffer.from(bytes)));
      return create(SendInputResponseSchema);
    });
  }

  sendSignal(request: SendSignalRequest, ctx: HandlerContext): Promise<SendSignalResponse> {
    return asConnect(async () => {
      const { session } = await this.#find(this.#identify(ctx), request.session);
      const name = SIGNALS.get(request.signal);
      if (name === undefined) throw new ServiceError('invalid_request', 'only signals 9 and 15 can be sent');
      await session.signals.run(request.signalUuid, () => session.signal(name, name === 'KILL'));
      return create(SendSignalResponseSchema);
    });
  }

  /** @throws ServiceError `unauthenticated` */
  #identify(ctx: HandlerContext): Target {
    const sandbox = ctx.values.get(SANDBOX_KEY);
    const { tenant } = this.#context.tokens.check(ctx.requestHeader.get('authorization') ?? undefined, sandbox);
    return { tenant, sandbox };
  }

  /** Starts a session, or returns the one that was started under the same `session_uuid`. */
  #start({ tenant, sandbox }: Target, request: StartRequest, timeoutMs: number | null): Kept {
    const { command, sessionUuid } = request;
    if (command === undefined) throw new ServiceError('invalid_request', 'command is missing');
    const uuid = sessionUuid ?? null;
    if (uuid !== null && !UUID.test(uuid)) {
      throw new ServiceError('invalid_request', 'session_uuid is not a canonical UUID');
    }
    const print = JSON.stringify([command.cmd, command.args, command.envs, command.cwd, command.user, request.stdin]);
    const known = uuid === null ? undefined : this.#sessions.byUuid(sandbox, uuid);
    if (known !== undefined) {
      if (known.request === print) return known;
      throw new ServiceError('idempotency_conflict', 'this session_uuid was already used with a different command');
    }
    const program = programFor(command, request, {
      sandbox,
      id: uuid ?? newExecId(),
      timeoutMs: uuid === null ? timeoutMs : null,
    });
    const { execs } = this.#context.services;
    const start = (): Session => {
      const leave = execs.enter(tenant);
      const session = new Session({ execs, tenant, program, resumeMs: this.#resumeMs });
      void session.over.then(leave);
      return session;
    };
    return this.#sessions.add(start, { tenant, uuid, request: print, command });
  }

  /**
   * A session of this gateway, or one that another gateway started.
   * @throws ServiceError `exec_not_found`, `invalid_request`
   */
  async #find({ tenant, sandbox }: Target, selection: CommandSessionSelector | undefined): Promise<Kept> {
    const selector = selection?.selector;
    if (selector?.case === 'pid') {
      const kept = this.#sessions.byPid(sandbox, selector.value);
      if (kept === undefined) throw noSession();
      return kept;
    }
    if (selector?.case !== 'sessionUuid') {
      throw new ServiceError('invalid_request', 'no session is named: give pid or session_uuid');
    }
    const id = selector.value;
    return this.#sessions.byUuid(sandbox, id) ?? (await this.#takeOver({ tenant, sandbox }, id));
  }

  /** Attaches to a command whose session this gateway does not have, at the end of the output so far. */
  async #takeOver({ tenant, sandbox }: Target, id: string): Promise<Kept> {
    const { execs } = this.#context.services;
    const state = (await execs.list(tenant, sandbox, { ids: [id] })).execs.find((each) => each.execId === id);
    if (state === undefined) throw noSession();
    // Another call may have taken it over in the meantime.
    const known = this.#sessions.byUuid(sandbox, id);
    if (known !== undefined) return known;
    const attachAt = { stdout: state.stdoutBytes, stderr: state.stderrBytes };
    const program = attachProgram(sandbox, id);
    const start = (): Session => new Session({ execs, tenant, program, resumeMs: this.#resumeMs, attachAt });
    return this.#sessions.add(start, { tenant, uuid: id, request: '', command: { cmd: '', args: [] } });
  }

  /** The events of a session for one stream of a client. @throws ConnectError */
  async *#follow(kept: Kept, ctx: HandlerContext, isText: boolean): AsyncGenerator<CommandSessionEvent> {
    const { session } = kept;
    this.#sessions.attached(kept);
    // Needed in addition to the `finally`: a generator whose reader goes away in the middle of an event is never
    // resumed. Deferred, because the session drops its listener on the same signal and must have done so first.
    const gone = (): void => queueMicrotask(() => this.#sessions.detached(kept));
    ctx.signal.addEventListener('abort', gone, { once: true });
    try {
      yield startEvent(await orAbort(ctx.signal, session.started));
      const events = session.listen(ctx.signal);
      for await (const event of isText ? wholeCharacters(events) : events) {
        if (event.kind === 'end' && session.timedOut) {
          throw new ServiceError('deadline_exceeded', 'the command took too long');
        }
        yield toMessage(event);
      }
      if (ctx.signal.aborted) throw ConnectError.from(ctx.signal.reason, Code.Canceled);
    } catch (thrown) {
      throw toConnectError(thrown);
    } finally {
      ctx.signal.removeEventListener('abort', gone);
      this.#sessions.detached(kept);
    }
  }
}

/** Runs the work and translates what it throws. @throws ConnectError */
async function asConnect<T>(work: () => T | Promise<T>): Promise<T> {
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

const noSession = (): ServiceError => new ServiceError('exec_not_found', 'there is no such session');
