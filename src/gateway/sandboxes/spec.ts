/** From what a client asks for to what a node is told to make. */
import { createHash } from 'node:crypto';
import { ServiceError } from '../../protocol/errors.ts';
import { newSandboxId } from '../../protocol/ids.ts';
import { MAX_CONTROL_BYTES } from '../../protocol/limits.ts';
import type { SandboxSpec } from '../../protocol/node.ts';
import type { CreateSandboxRequest } from '../../protocol/sandbox.ts';

/** A spec travels in one frame, beside a few words of its own. */
const MAX_SPEC_BYTES = MAX_CONTROL_BYTES - 4096;

/**
 * One spec for each sandbox of the request; all share what is alike in them. With a seed, their ids are made of it.
 * @throws ServiceError `body_too_large` when environment, labels and command together are too large.
 */
export function specsOf(
  tenant: string,
  request: CreateSandboxRequest,
  image: string,
  now: number,
  seed?: string,
): SandboxSpec[] {
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
  const idOf = (i: number): string => (seed === undefined ? newSandboxId() : sandboxIdFor(seed, i));
  return Array.from({ length: request.count ?? 1 }, (_, i) => ({ ...spec, id: idOf(i) }));
}

/** The same for the same seed, on every gateway. */
function sandboxIdFor(seed: string, index: number): string {
  const hash = createHash('sha256')
    .update(JSON.stringify([seed, index]))
    .digest('hex');
  return `sbx-${hash.slice(0, 32)}`;
}
