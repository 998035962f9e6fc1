/** Translates a gateway's exec request into boxinit's. */
import * as z from 'zod';
import { firstProblem } from '../../src/lib/schema-problems.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import { AttachOpen, ExecOpen } from '../../src/protocol/exec.ts';
import { ID_PATTERN, newExecId } from '../../src/protocol/ids.ts';
import { DEFAULT_KILL_GRACE_MS, DEFAULT_RING_BYTES, DETACHED_GRACE_MS } from '../../src/protocol/limits.ts';
import type { SupervisorAttach, SupervisorExec } from '../../src/protocol/supervisor.ts';
import type { Json } from '../../src/mux/index.ts';
import type { Sandbox } from '../sandboxes/sandbox.ts';

/** Ignores fields added by newer gateways. */
const NodeExec = z.object({ ...ExecOpen.shape, background: z.boolean().optional() });
const NodeAttach = z.object(AttachOpen.shape);

export type ParsedExec = Omit<z.infer<typeof NodeExec>, 'id'> & { id: string };

/** @throws ServiceError `invalid_request`. */
export function parseExec(request: Json): ParsedExec {
  const parsed = NodeExec.safeParse(request);
  if (!parsed.success) throw invalid(parsed.error);
  const exec = parsed.data;
  const sources = [exec.argv, exec.command, exec.scriptBytes].filter((source) => source !== undefined);
  if (sources.length !== 1) throw new ServiceError('invalid_request', 'one of argv, command and scriptBytes is needed');
  const id = exec.id ?? newExecId();
  if (!ID_PATTERN.test(id)) throw new ServiceError('invalid_request', 'not an exec id');
  return { ...exec, id };
}

/** Environment precedence: the request overrides the sandbox, which overrides the image. */
export function toSupervisorExec(exec: ParsedExec, sandbox: Sandbox): SupervisorExec {
  const user = exec.user ?? (sandbox.image?.user === '' ? undefined : sandbox.image?.user);
  return {
    op: 'exec',
    id: exec.id,
    ...(exec.argv === undefined ? {} : { argv: exec.argv }),
    ...(exec.command === undefined ? {} : { script: exec.command }),
    ...(exec.scriptBytes === undefined ? {} : { scriptBytes: exec.scriptBytes }),
    ...(exec.shell === undefined ? {} : { shell: exec.shell }),
    env: exec.env === undefined ? sandbox.env : { ...sandbox.env, ...exec.env },
    cwd: resolveCwd(exec.cwd, sandbox.image?.workdir ?? '/'),
    ...(user === undefined ? {} : { user }),
    stdin: exec.stdin ?? false,
    ...(exec.pty === undefined ? {} : { pty: exec.pty }),
    ...(exec.timeoutMs === undefined ? {} : { timeoutMs: exec.timeoutMs }),
    killGraceMs: exec.killGraceMs ?? DEFAULT_KILL_GRACE_MS,
    ringBytes: exec.ringBytes ?? DEFAULT_RING_BYTES,
    detachedMs: exec.detachedMs ?? DETACHED_GRACE_MS,
    ...(exec.background === true ? { background: true } : {}),
  };
}

/** @throws ServiceError `invalid_request`. */
export function toSupervisorAttach(request: Json): SupervisorAttach {
  const parsed = NodeAttach.safeParse(request);
  if (!parsed.success) throw invalid(parsed.error);
  const { id, stdout, stderr } = parsed.data;
  return { op: 'attach', id, stdout: stdout ?? 0, stderr: stderr ?? 0 };
}

/** Purely textual: boxinit checks whether the path exists. */
function resolveCwd(cwd: string | undefined, workdir: string): string {
  const base = workdir === '' ? '/' : workdir;
  if (cwd === undefined || cwd === '') return base;
  if (cwd.startsWith('/')) return cwd;
  return base.endsWith('/') ? `${base}${cwd}` : `${base}/${cwd}`;
}

const invalid = (error: z.ZodError): ServiceError => new ServiceError('invalid_request', firstProblem(error));
