/** Turns the request of a client into the specs that nodes get. */
import { createHash } from 'node:crypto';
import { ServiceError } from '../../protocol/errors.ts';
import { variableFits } from '../../protocol/exec.ts';
import { newSandboxId } from '../../protocol/ids.ts';
import { MAX_ARG_BYTES, MAX_CONTROL_BYTES } from '../../protocol/limits.ts';
import type { SandboxSpec } from '../../protocol/node.ts';
import type { CreateSandboxRequest } from '../../protocol/sandbox.ts';

/** A spec travels in one frame; this much is left for its other fields. */
const MAX_SPEC_BYTES = MAX_CONTROL_BYTES - 4096;

/**
 * One spec for each sandbox of the request, with its id from `idOf`. All share the objects they have in common.
 * @throws ServiceError `body_too_large` when environment, labels and command together are too large; `invalid_request`
 * for a variable that the kernel would not pass to a program.
 */
export function specsOf(
  tenant: string,
  request: CreateSandboxRequest,
  image: string,
  now: number,
  idOf: (index: number) => string = newSandboxId,
): SandboxSpec[] {
  checkVariables(request.env);
  checkVariables(request.secrets);
  const spec: SandboxSpec = {
    id: newSandboxId(),
    tenant,
    name: request.name ?? null,
    image,
    cpus: request.cpus,
    memoryMb: request.memoryMb,
    diskMb: request.diskMb ?? null,
    pidsLimit: request.pidsLimit,
    network: request.network,
    env: request.env,
    secrets: request.secrets,
    labels: request.labels,
    startCommand: request.startCommand ?? null,
    createdAtMs: now,
    expiresAtMs: now + request.timeoutMs,
    idleTimeoutMs: request.idleTimeoutMs ?? null,
  };
  const bytes = Buffer.byteLength(JSON.stringify(spec));
  if (bytes > MAX_SPEC_BYTES) {
    throw new ServiceError(
      'body_too_large',
      `env, secrets, labels and startCommand take ${bytes} bytes together; at most ${MAX_SPEC_BYTES}`,
    );
  }
  return Array.from({ length: request.count ?? 1 }, (_, i) => ({ ...spec, id: idOf(i) }));
}

/** With a variable that is too large every command in the sandbox would fail. */
function checkVariables(variables: Record<string, string>): void {
  for (const variable of Object.entries(variables)) {
    if (variableFits(variable)) continue;
    const message = `the variable ${JSON.stringify(variable[0])} takes more than ${MAX_ARG_BYTES} bytes, its name included`;
    throw new ServiceError('invalid_request', message);
  }
}

/**
 * Ids that every gateway derives identically from the same seed. An id whose sandbox was taken back, because the create
 * that it was part of failed, is not used again.
 */
export function idsFrom(seed: string, takenBack: (id: string) => boolean = () => false): (index: number) => string {
  return (index) => {
    for (let attempt = 0; ; attempt++) {
      const hash = createHash('sha256').update(JSON.stringify([seed, index, attempt]));
      const id = `sbx-${hash.digest('hex').slice(0, 32)}`;
      if (!takenBack(id)) return id;
    }
  };
}
