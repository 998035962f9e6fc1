/** Converts the distribution's default seccomp profile to the form used by OCI runtimes. */
import { readFileSync } from 'node:fs';
import * as z from 'zod';
import { ServiceError } from '../../../src/protocol/errors.ts';

export const PROFILE_PATHS = ['/usr/share/containers/seccomp.json', '/etc/containers/seccomp.json'];

const When = z.object({ caps: z.array(z.string()).nullish(), arches: z.array(z.string()).nullish() }).nullish();
const Profile = z.object({
  defaultAction: z.string(),
  defaultErrnoRet: z.number().nullish(),
  archMap: z.array(z.object({ architecture: z.string(), subArchitectures: z.array(z.string()).nullish() })),
  syscalls: z.array(
    z.object({
      names: z.array(z.string()),
      action: z.string(),
      errnoRet: z.number().nullish(),
      args: z
        .array(z.object({ index: z.number(), value: z.number(), valueTwo: z.number().nullish(), op: z.string() }))
        .nullish(),
      includes: When,
      excludes: When,
    }),
  ),
});

interface SeccompRule {
  names: string[];
  action: string;
  errnoRet?: number;
  args?: { index: number; value: number; valueTwo: number; op: string }[];
}

export interface Seccomp {
  defaultAction: string;
  defaultErrnoRet?: number;
  architectures: string[];
  syscalls: SeccompRule[];
}

/** Processor names: Node's → the profile's two. */
const PROCESSORS: Partial<Record<string, { arch: string; tag: string }>> = {
  x64: { arch: 'SCMP_ARCH_X86_64', tag: 'amd64' },
  arm64: { arch: 'SCMP_ARCH_AARCH64', tag: 'arm64' },
};

/**
 * The profile for a container with these capabilities, plus the `extra` calls that a claim needs; boxinit forbids those
 * at the end of the claim.
 * @throws ServiceError `not_supported` for a processor that the profile does not know.
 */
export function seccompFor(
  capabilities: readonly string[],
  extra: readonly string[],
  profile: unknown = readProfile(),
  processor: string = process.arch,
): Seccomp {
  const parsed = Profile.parse(profile);
  const here = PROCESSORS[processor];
  const archs = parsed.archMap.find(({ architecture }) => architecture === here?.arch);
  if (here === undefined || archs === undefined) {
    throw new ServiceError('not_supported', `the seccomp profile does not know ${processor}`);
  }
  const holds = (when: z.infer<typeof When>): { caps: boolean; arches: boolean } => ({
    caps: when?.caps?.every((capability) => capabilities.includes(capability)) ?? true,
    arches: when?.arches?.includes(here.tag) ?? true,
  });
  const applies = ({ includes, excludes }: z.infer<typeof Profile>['syscalls'][number]): boolean => {
    const included = holds(includes);
    const barred =
      (excludes?.caps ?? []).some((capability) => capabilities.includes(capability)) ||
      (excludes?.arches ?? []).includes(here.tag);
    return included.caps && included.arches && !barred;
  };
  const rules = parsed.syscalls
    .filter(applies)
    .map(({ names, action, errnoRet, args }) => ({
      names: names.filter((name) => !extra.includes(name)),
      action,
      ...(typeof errnoRet === 'number' ? { errnoRet } : {}),
      ...(args?.length ? { args: args.map((arg) => ({ ...arg, valueTwo: arg.valueTwo ?? 0 })) } : {}),
    }))
    .filter(({ names }) => names.length > 0);
  return {
    defaultAction: parsed.defaultAction,
    ...(typeof parsed.defaultErrnoRet === 'number' ? { defaultErrnoRet: parsed.defaultErrnoRet } : {}),
    architectures: [archs.architecture, ...(archs.subArchitectures ?? [])],
    syscalls: [...rules, { names: [...extra], action: 'SCMP_ACT_ALLOW' }],
  };
}

function readProfile(): unknown {
  for (const path of PROFILE_PATHS) {
    try {
      return JSON.parse(readFileSync(path, 'utf8')) as unknown;
    } catch {
      // Try the next path.
    }
  }
  throw new ServiceError(
    'not_supported',
    `no seccomp profile in ${PROFILE_PATHS.join(' or ')}: install golang-github-containers-common`,
  );
}
