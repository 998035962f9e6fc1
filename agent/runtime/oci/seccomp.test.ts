import { describe, expect, test } from 'vitest';
import { ServiceError } from '../../../src/protocol/errors.ts';
import { seccompFor } from './seccomp.ts';

const PROFILE = {
  defaultAction: 'SCMP_ACT_ERRNO',
  defaultErrnoRet: 38,
  archMap: [{ architecture: 'SCMP_ARCH_X86_64', subArchitectures: ['SCMP_ARCH_X86'] }],
  syscalls: [
    { names: ['read', 'mount'], action: 'SCMP_ACT_ALLOW', args: [], includes: {}, excludes: {} },
    { names: ['bpf', 'setns'], action: 'SCMP_ACT_ALLOW', includes: { caps: ['CAP_SYS_ADMIN'] } },
    { names: ['bpf', 'setns'], action: 'SCMP_ACT_ERRNO', errnoRet: 1, excludes: { caps: ['CAP_SYS_ADMIN'] } },
    { names: ['chroot'], action: 'SCMP_ACT_ALLOW', includes: { caps: ['CAP_SYS_CHROOT'] } },
    { names: ['modify_ldt'], action: 'SCMP_ACT_ALLOW', includes: { arches: ['arm64'] } },
    {
      names: ['personality'],
      action: 'SCMP_ACT_ALLOW',
      args: [{ index: 0, value: 8, valueTwo: null, op: 'SCMP_CMP_EQ' }],
    },
  ],
};

const rules = (action: string): string[] =>
  seccompFor(['CAP_SYS_CHROOT'], ['setns'], PROFILE, 'x64')
    .syscalls.filter((rule) => rule.action === action)
    .flatMap(({ names }) => names);

describe('the default profile', () => {
  test('is filtered by the capabilities that the container has', () => {
    expect(rules('SCMP_ACT_ALLOW')).toEqual(['read', 'mount', 'chroot', 'personality', 'setns']);
    expect(rules('SCMP_ACT_ERRNO')).toEqual(['bpf']);
  });

  test('keeps its default action and its argument conditions', () => {
    const profile = seccompFor([], [], PROFILE, 'x64');
    expect(profile).toMatchObject({ defaultAction: 'SCMP_ACT_ERRNO', defaultErrnoRet: 38 });
    expect(profile.architectures).toEqual(['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86']);
    const rule = profile.syscalls.find(({ names }) => names.includes('personality'));
    expect(rule?.args).toEqual([{ index: 0, value: 8, valueTwo: 0, op: 'SCMP_CMP_EQ' }]);
  });

  test('is refused for an unknown processor', () => {
    expect(() => seccompFor([], [], PROFILE, 'arm64')).toThrow(ServiceError);
    expect(() => seccompFor([], [], PROFILE, 'mips')).toThrow(ServiceError);
  });
});
