/**
 * Between the start of a blank and its claim nothing runs in it but boxinit. The kernel itself is the witness: a namespace
 * of processes gives its numbers in order, so none can have been in it whose number is not missing; and who executes a
 * program gets a stack of its own.
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
/** Of the fields of /proc/PID/stat behind the name: where the stack begins, at random with each program that is executed. */
const STACK = 25;

const nameAndStack = (pid: number): string[] => {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const end = stat.lastIndexOf(')');
  return [stat.slice(stat.indexOf('('), end + 1), stat.slice(end + 2).split(' ')[STACK] ?? ''];
};

/** The number that a process gets which enters the namespace from outside, and leaves it again. */
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
      // The runtime's own threads have had numbers before they made room for boxinit; a clone begins as the only one.
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

  test('one that only looked in would be seen', async () => {
    const launched = await bench.launch();
    const { pid } = boxOf(launched);
    const visitor = await numberInside(pid);
    expect(await numberInside(pid)).toBe(visitor + 1);
    await bench.claim(launched);
    expect(await numberOfProgram(launched)).toBe(visitor + 2);
  });

  test('who executes a program gets another stack, and a clone does not', async () => {
    const [a, b] = (await Promise.all([bench.launch(), bench.launch()])).map((each) => nameAndStack(boxOf(each).pid));
    if (by === 'nursery') expect(a).toEqual(b);
    else expect(a).not.toEqual(b);
  });
});

/** Processes that were ever in a group at one time; 1 where the kernel does not count it. */
function mostAtOnce(cgroup: string): number {
  const file = join(findCgroups().controllers.pids, cgroup, 'pids.peak');
  return existsSync(file) ? Number(readFileSync(file, 'utf8')) : 1;
}
