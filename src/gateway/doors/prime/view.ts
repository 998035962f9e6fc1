/** A sandbox as Prime clients see it. */
import type { EndReason, Sandbox } from '../../../protocol/sandbox.ts';
import { factsOf, wordsOf } from './labels.ts';

/** Error types that clients map to exceptions of their own, and some that they only display. */
const ERROR_TYPE: Record<EndReason, string | null> = {
  deleted: null,
  lifetime: 'TIMEOUT',
  idle: 'TIMEOUT',
  oom: 'OOM_KILLED',
  image_pull_failed: 'IMAGE_PULL_FAILED',
  start_failed: 'START_FAILED',
  node_lost: 'NODE_LOST',
  node_drained: 'NODE_DRAINED',
  internal: 'INTERNAL',
};

export const errorTypeOf = ({ reason }: Sandbox): string | null => (reason === null ? null : ERROR_TYPE[reason]);

export const isVm = (sandbox: Sandbox): boolean => factsOf(sandbox.labels).vm;

export function toPrime(sandbox: Sandbox): Record<string, unknown> {
  const facts = factsOf(sandbox.labels);
  const secrets = Object.fromEntries(facts.secretNames.map((name) => [name, '***']));
  const off = sandbox.network === 'off';
  return {
    id: sandbox.id,
    name: sandbox.name ?? sandbox.id,
    dockerImage: facts.image ?? sandbox.image,
    // Client releases disagree on its type, and a value of the wrong type breaks parsing of the whole list.
    startCommand: null,
    cpuCores: sandbox.cpus,
    memoryGB: sandbox.memoryMb / 1024,
    diskSizeGB: facts.diskGb,
    diskMountPath: '/',
    gpuCount: 0,
    gpuType: null,
    vm: facts.vm,
    networkAccess: !off,
    networkAllowlist: off ? [] : null,
    networkDenylist: null,
    status: sandbox.status,
    timeoutMinutes: facts.timeoutMinutes,
    idleTimeoutMinutes: facts.idleTimeoutMinutes,
    terminationReason: sandbox.reason,
    environmentVars: null,
    secrets: facts.secretNames.length === 0 ? null : secrets,
    advancedConfigs: null,
    labels: wordsOf(sandbox.labels),
    createdAt: sandbox.createdAt,
    updatedAt: sandbox.endedAt ?? sandbox.startedAt ?? sandbox.createdAt,
    startedAt: sandbox.startedAt,
    terminatedAt: sandbox.endedAt,
    exitCode: null,
    errorType: errorTypeOf(sandbox),
    errorMessage: sandbox.message,
    userId: null,
    teamId: facts.team,
    kubernetesJobId: null,
    region: facts.region,
    registryCredentialsId: null,
    pendingImageBuildId: null,
  };
}
