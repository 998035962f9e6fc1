/**
 * Between the start of a blank and its claim nothing but boxinit runs in it. The kernel itself proves it: a PID
 * namespace assigns pids in order, so a process that was in it leaves a gap; and execve gives a process a new stack.
 */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Launched } from '../../../agent/pool/launcher.ts';
import { Bench, LIMITS, run } from '../../../agent/runtime/contract/subject.ts';
import { findCgroups, processesIn } from '../../../agent/runtime/oci/cgroup-tree.ts';
import type { Box } from '../../../agent/runtime/oci/boxes.ts';
import { boxinitPath } from '../../../src/cli/up/parts.ts';
import { ociSubject, processOf } from './subject.ts';

const exec = promisify(execFile);
/** Index of the field in /proc/PID/stat, after the name, where the stack begins: random with each execve. */
const STACK = 25;

const nameAndStack = (pid: number): string[] => {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const end = stat.lastIndexOf(')');
  return [stat.slice(stat.indexOf('('), end + 1), stat.slice(end + 2).split(' ')[STACK] ?? ''];
};

/** The pid assigned to a process that enters the namespace from outside, and leaves it again. */
async function numberInside(pid: number): Promise<number> {
  const entered = await exec('nsenter', [`--pid=/proc/${pid}/ns/pid`, 'sh', '-c', 'echo $$']);
  return Number(entered.stdout);
}

async function numberOfProgram({ link }: Launched): Promise<number> {
  return Number((await run(link, ['sh', '-c', 'echo $$'])).stdout);
}

describe.each(['nursery', 'runtime'] as const)('a blank of the %s', (by) => {
  let bench: Bench;
  beforeAll(async () => {
    bench = await Bench.open(ociSubject({ nursery: by === 'nursery' }));
  });
  afterAll(() => bench?.[Symbol.asyncDispose]());

  const boxOf = ({ container }: Launched): Box => {
    const box = processOf(bench.runtime, container.id);
    expect(box.by).toBe(by);
    return box;
  };

  test.each([null, 8])(
    'the first process after boxinit is the first program of the sandbox (disk: %s)',
    async (diskMb) => {
      const launched = await bench.launch();
      const { pid, cgroup } = boxOf(launched);
      const before = nameAndStack(pid);
      // The runtime's own threads took pids before they made room for boxinit; a clone starts alone.
      const first = by === 'nursery' ? 1 : await numberInside(pid);
      await launched.link.ping();
      expect(processesIn(findCgroups(), cgroup)).toEqual([pid]);

      await bench.claim(launched, { limits: { ...LIMITS, diskMb } });
      expect(processesIn(findCgroups(), cgroup)).toEqual([pid]);
      expect(nameAndStack(pid)).toEqual(before);
      expect(statSync(`/proc/${pid}/exe`).ino).toBe(statSync(boxinitPath()).ino);
      if (by === 'nursery') expect(mostAtOnce(cgroup)).toBe(1);
      expect(await numberOfProgram(launched)).toBe(first + 1);
    },
  );

  test('a process that only looked in would be detected', async () => {
    const launched = await bench.launch();
    const { pid } = boxOf(launched);
    const visitor = await numberInside(pid);
    expect(await numberInside(pid)).toBe(visitor + 1);
    await bench.claim(launched);
    expect(await numberOfProgram(launched)).toBe(visitor + 2);
  });

  test('execve gives a process a new stack, and a clone does not', async () => {
    const [a, b] = (await Promise.all([bench.launch(), bench.launch()])).map((each) => nameAndStack(boxOf(each).pid));
    if (by === 'nursery') expect(a).toEqual(b);
    else expect(a).not.toEqual(b);
  });
});

/** The most processes that were ever in a group at once; 1 if the kernel does not count them. */
function mostAtOnce(cgroup: string): number {
  const file = join(findCgroups().controllers.pids, cgroup, 'pids.peak');
  return existsSync(file) ? Number(readFileSync(file, 'utf8')) : 1;
}
