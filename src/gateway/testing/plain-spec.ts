import type { SandboxSpec } from '../../protocol/node.ts';

/** A small sandbox as a queue or a node gets it; `changes` are what a test is about. */
export function plainSpec(
  changes: Partial<SandboxSpec> & Pick<SandboxSpec, 'id' | 'tenant' | 'createdAtMs' | 'expiresAtMs'>,
): SandboxSpec {
  return {
    name: null,
    image: 'image',
    cpus: 1,
    memoryMb: 512,
    diskMb: null,
    pidsLimit: 512,
    network: 'off',
    env: {},
    secrets: {},
    labels: {},
    startCommand: null,
    idleTimeoutMs: null,
    ...changes,
  };
}
