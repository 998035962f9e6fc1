/** Lists a sandbox's commands: jobs, whose state the agent keeps, and the others, which boxinit knows. */
import { ServiceError } from '../../src/protocol/errors.ts';
import type { ExecList, ExecState } from '../../src/protocol/exec.ts';
import { MAX_CONTROL_BYTES } from '../../src/protocol/limits.ts';
import { SupervisorListOpened } from '../../src/protocol/supervisor.ts';
import type { Sandbox } from '../sandboxes/sandbox.ts';
import type { Supervisor } from '../supervisor/supervisor.ts';
import { fitting } from './fitting.ts';
import { RECALL_MS } from './relay.ts';

/** Room for the fields around the list. */
const ENVELOPE_BYTES = 1_024;

/**
 * The commands with these ids, or as many of all as fit in one message. boxinit is not asked if all ids are jobs.
 * @throws ServiceError `sandbox_not_ready`, `interrupted`, or the reason why the sandbox has ended
 */
export async function listExecs(
  sandbox: Sandbox,
  ids: readonly string[] | undefined,
  jobs: () => readonly ExecState[],
): Promise<ExecList> {
  if (!sandbox.running && !sandbox.ended) return { execs: [] };
  const wanted = ids === undefined ? undefined : new Set(ids);
  const before = idsOf(jobs());
  const otherIds = ids?.filter((id) => !before.has(id));
  const others = otherIds?.length === 0 ? { execs: [], more: false } : await listOthers(sandbox, otherIds);
  // A job that started meanwhile is in both lists; the agent's state wins, since boxinit also counts output not yet on
  // disk.
  const now = jobs();
  const known = idsOf(now);
  const all = [...now, ...others.execs.filter(({ execId }) => !known.has(execId))];
  const asked = wanted === undefined ? all : all.filter(({ execId }) => wanted.has(execId));
  // Running commands come first, so those left out have ended.
  const execs = fitting(asked.toSorted(runningFirst), MAX_CONTROL_BYTES - ENVELOPE_BYTES);
  const more = others.more || execs.length < asked.length;
  return { execs: [...execs], ...(more ? { more } : {}) };
}

const idsOf = (execs: readonly ExecState[]): Set<string> => new Set(execs.map(({ execId }) => execId));
const runningFirst = (a: ExecState, b: ExecState): number => Number(a.exit !== null) - Number(b.exit !== null);

async function listOthers(
  sandbox: Sandbox,
  ids: readonly string[] | undefined,
): Promise<{ execs: ExecState[]; more: boolean }> {
  // After a restart of the agent, a sandbox may be running before its boxinit has reconnected.
  await new Promise<void>((resolve) => sandbox.whenRelinkedOrEnded(RECALL_MS, resolve));
  const parsed = SupervisorListOpened.safeParse(
    await linkOf(sandbox).call({ op: 'list', ...(ids === undefined ? {} : { ids: [...ids] }) }),
  );
  if (!parsed.success) {
    sandbox.launched?.link.condemn('a malformed list of execs');
    throw new ServiceError('interrupted');
  }
  const execs = parsed.data.execs.map((exec): ExecState => ({
    execId: exec.id,
    state: exec.running ? 'running' : 'exited',
    background: exec.background,
    ...(exec.attached === undefined ? {} : { attached: exec.attached }),
    startedAt: new Date(Math.min(Math.max(0, exec.startedAtMs), 8.64e15)).toISOString(),
    stdoutBytes: exec.stdoutBytes,
    stderrBytes: exec.stderrBytes,
    exit: exec.exit ?? null,
  }));
  return { execs, more: parsed.data.more };
}

/** @throws ServiceError with the reason why the sandbox cannot be asked */
export function linkOf(sandbox: Sandbox): Supervisor {
  if (sandbox.ended) throw sandbox.endedError();
  if (!sandbox.running || sandbox.launched === null) throw new ServiceError('sandbox_not_ready');
  return sandbox.launched.link;
}
