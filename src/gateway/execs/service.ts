/** Operations on commands in sandboxes, for every API. */
import { backoffMs } from '../../lib/backoff.ts';
import { orAbort, pause } from '../../lib/deadline.ts';
import { LOST } from '../../protocol/cuts.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { ExecList, type ExecRequest, type ExecResult, type ExecState, type SignalName } from '../../protocol/exec.ts';
import { newExecId } from '../../protocol/ids.ts';
import { DEFAULT_MAX_OUTPUT_BYTES, DETACHED_GRACE_MS, MAX_JOB_WAIT_MS } from '../../protocol/limits.ts';
import type { GatewayConfig } from '../config.ts';
import type { IdempotencyStore } from '../idempotency/store.ts';
import type { Lifecycle } from '../lifecycle.ts';
import type { Opener } from '../nodes/unary.ts';
import type { SandboxService } from '../sandboxes/service.ts';
import type { Admission } from '../tenants/admission.ts';
import { ExecWaiters } from './waiters.ts';
import { execIdFor } from './ids.ts';
import { startInBackground } from './job.ts';
import { withExit } from './exit.ts';
import { readOutput, type OutputWindow, type WindowRequest } from './output.ts';
import { programOf } from './program.ts';
import { runExec } from './run.ts';
import { retryWhileAttached } from './attach-retry.ts';

export interface ExecCallOptions {
  idempotencyKey?: string | undefined;
  /**
   * The caller went away: the command is killed. With an idempotency key, only if nobody comes back with the key soon.
   */
  signal?: AbortSignal | undefined;
}

interface ListOptions {
  ids?: readonly string[] | undefined;
  /** With one id: see the node's `execs`. */
  waitMs?: number;
  signal?: AbortSignal | undefined;
}

export interface ExecServiceDeps {
  sandboxes: Pick<SandboxService, 'locate' | 'entry'>;
  idempotency: IdempotencyStore;
  admission: Pick<Admission, 'attach' | 'enter'>;
  lifecycle: Lifecycle;
  config: Pick<GatewayConfig, 'resumeMs'>;
  observe?: ExecObserver;
}

interface ExecObserver {
  /** A command with a waiting caller has finished. */
  finished(outcome: 'exit' | 'timeout' | 'error', timings?: { queueMs: number; runMs: number; totalMs: number }): void;
}

/** How long a client may take to come back with its idempotency key after its connection broke. */
const RETURN_MS = 5_000;
/**
 * Polling interval for a command that is not a job, or for a job of an older agent, which does not hold back its
 * answer.
 */
const POLL = { firstMs: 10, maxMs: 250 };
/** Time allowed for an answer, in addition to how long it may be held back. */
const ANSWER_MS = 15_000;

export class ExecService {
  readonly #deps: ExecServiceDeps;
  readonly #waiters = new ExecWaiters(RETURN_MS);

  constructor(deps: ExecServiceDeps) {
    this.#deps = deps;
  }

  /**
   * Runs a command and waits for its end. A non-zero exit is a result. A repeated idempotency key gets the same result, and
   * the command does not run again.
   * @throws ServiceError `exec_…` when it never ran, `interrupted` when its outcome is unknown, `sandbox_…`,
   * `node_unavailable`, `quota_exceeded`, `cancelled` after the caller's signal.
   */
  async run(tenant: string, sandbox: string, request: ExecRequest, options: ExecCallOptions = {}): Promise<ExecResult> {
    return this.#once(tenant, sandbox, request, options, async (id, signal) => {
      const { config, observe } = this.#deps;
      const startedAt = performance.now();
      try {
        const result = await runExec({
          program: programOf(request, { sandbox, id, detachedMs: DETACHED_GRACE_MS }),
          locate: (signal) => this.#locate(tenant, sandbox, signal),
          maxOutputBytes: request.maxOutputBytes ?? DEFAULT_MAX_OUTPUT_BYTES,
          encoding: request.encoding,
          signal,
          resumeMs: config.resumeMs,
          keepExit: options.idempotencyKey !== undefined,
        });
        const totalMs = performance.now() - startedAt;
        const timings = { queueMs: result.queueMs, runMs: result.durationMs, totalMs };
        observe?.finished(result.timedOut ? 'timeout' : 'exit', timings);
        return result;
      } catch (error) {
        observe?.finished('error');
        throw error;
      }
    });
  }

  /** Starts a background command. Resolves once it runs. @throws ServiceError as `run` */
  async start(
    tenant: string,
    sandbox: string,
    request: ExecRequest,
    options: ExecCallOptions = {},
  ): Promise<{ execId: string }> {
    return this.#once(tenant, sandbox, request, options, async (id, signal) => {
      const program = programOf({ ...request, background: true }, { sandbox, id, detachedMs: 0 });
      const locate = (signal: AbortSignal) => this.#locate(tenant, sandbox, signal);
      await startInBackground({ program, locate, resumeMs: this.#deps.config.resumeMs, signal });
      return { execId: id };
    });
  }

  /**
   * Counts a command that the caller itself follows to its end, until the returned function is called.
   * @throws ServiceError `quota_exceeded` when the tenant runs as many as it may.
   */
  enter(tenant: string): () => void {
    return this.#deps.admission.enter(tenant);
  }

  /** As `enter`, for a command that was started before. */
  attach(tenant: string): () => void {
    return this.#deps.admission.attach(tenant);
  }

  /** The sandbox's node, once it has one. @throws ServiceError `draining` when this gateway takes nothing new */
  locate(tenant: string, sandbox: string, signal: AbortSignal): Promise<Opener> {
    this.#deps.lifecycle.assertOpen();
    return this.#locate(tenant, sandbox, signal);
  }

  /** Running commands, and ended ones that have not been acknowledged. */
  async list(tenant: string, sandbox: string, { ids, waitMs = 0, signal }: ListOptions = {}): Promise<ExecList> {
    const node = await this.#deps.sandboxes.locate(tenant, sandbox, signal);
    const which = { ...(ids === undefined ? {} : { ids: [...ids] }), ...(waitMs === 0 ? {} : { waitMs }) };
    const answer = await orAbort(signal, node.call({ op: 'execs', sandbox, ...which }, ANSWER_MS + waitMs));
    const parsed = ExecList.safeParse(answer);
    if (!parsed.success) throw new ServiceError('protocol_error', 'the agent sent a list that cannot be read');
    const list = parsed.data;
    // Exits are read one by one, so only for commands that were asked for by id.
    if (ids === undefined) return list;
    return { ...list, execs: await Promise.all(list.execs.map((state) => withExit(node, sandbox, state))) };
  }

  /** One command: as soon as it has exited, or after `waitMs`. @throws ServiceError `exec_not_found` */
  async get(
    tenant: string,
    sandbox: string,
    id: string,
    options: { waitMs?: number; signal?: AbortSignal } = {},
  ): Promise<ExecState> {
    const { signal } = options;
    const until = performance.now() + (options.waitMs ?? 0);
    for (let looks = 1; ; looks++) {
      const askedAt = performance.now();
      const waitMs = Math.min(Math.max(0, Math.ceil(until - askedAt)), MAX_JOB_WAIT_MS);
      const found = await this.#look(tenant, sandbox, id, { waitMs, signal });
      const now = performance.now();
      if (found !== undefined && (found.exit !== null || now >= until || signal?.aborted)) return found;
      const wasHeldBack = now - askedAt >= waitMs;
      if (!wasHeldBack) await pause(Math.min(backoffMs(POLL, looks), until - now), signal);
    }
  }

  /** Undefined if the link was cut while the node held back its answer: that says nothing about the command. */
  async #look(
    tenant: string,
    sandbox: string,
    id: string,
    { waitMs, signal }: { waitMs: number; signal: AbortSignal | undefined },
  ): Promise<ExecState | undefined> {
    try {
      const { execs } = await this.list(tenant, sandbox, { ids: [id], waitMs, signal });
      const found = execs.find((exec) => exec.execId === id);
      if (found === undefined) throw new ServiceError('exec_not_found');
      return found;
    } catch (error) {
      if (waitMs > 0 && error instanceof ServiceError && LOST.has(error.code)) return undefined;
      throw error;
    }
  }

  /** A window of a command's output. @throws ServiceError `output_lost`, `exec_not_found`, `body_too_large` */
  async output(
    tenant: string,
    sandbox: string,
    id: string,
    window: WindowRequest,
    signal?: AbortSignal,
  ): Promise<OutputWindow> {
    return retryWhileAttached(async () => {
      const state = await this.get(tenant, sandbox, id, signal === undefined ? {} : { signal });
      const node = await this.#deps.sandboxes.locate(tenant, sandbox, signal);
      return readOutput(node, sandbox, state, window, signal);
    }, signal);
  }

  /** Signals the command's process group, or with `all` everything it started. @throws ServiceError `exec_not_found` */
  async signal(
    tenant: string,
    sandbox: string,
    id: string,
    { signal, all = false }: { signal: SignalName; all?: boolean | undefined },
    caller?: AbortSignal,
  ): Promise<void> {
    const node = await this.#deps.sandboxes.locate(tenant, sandbox, caller);
    await orAbort(caller, node.call({ op: 'signal', sandbox, id, signal, all }));
  }

  async #once<T>(
    tenant: string,
    sandbox: string,
    request: ExecRequest,
    options: ExecCallOptions,
    work: (id: string, signal: AbortSignal | undefined) => Promise<T>,
  ): Promise<T> {
    const { sandboxes, idempotency, lifecycle } = this.#deps;
    const release = lifecycle.begin();
    const admitted = async (id: string, signal: AbortSignal | undefined): Promise<T> => {
      const leave = this.enter(tenant);
      try {
        return await work(id, signal);
      } finally {
        leave();
      }
    };
    try {
      sandboxes.entry(tenant, sandbox);
      const key = options.idempotencyKey;
      if (key === undefined) return await admitted(newExecId(), options.signal);
      const call = { scope: `exec ${tenant} ${sandbox}`, key, request };
      const id = execIdFor(tenant, sandbox, key);
      const waiter = this.#waiters.join(id, options.signal);
      try {
        return await idempotency.run(call, () => admitted(id, waiter.signal), waiter.signal);
      } catch (error) {
        const isCancelled = error instanceof ServiceError && error.code === 'cancelled';
        if (!isCancelled || waiter.signal.aborted || options.signal?.aborted) throw error;
        // This caller came while the command of those before it was being killed, and has not given up itself.
        throw new ServiceError('interrupted', 'earlier callers with this key gave up, and the command was killed', {
          cause: error,
        });
      } finally {
        waiter.leave();
      }
    } finally {
      release();
    }
  }

  async #locate(tenant: string, sandbox: string, signal: AbortSignal): Promise<Opener> {
    const node = await this.#deps.sandboxes.locate(tenant, sandbox, signal);
    await node.requests.turn(tenant, signal);
    return node;
  }
}
