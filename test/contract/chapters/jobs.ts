/** Background commands. */
import { expect } from 'vitest';
import { running } from '../../helpers/sandbox.ts';
import { LIMIT_MS, rule, type Scene } from '../rule.ts';

export function jobs(scene: Scene): void {
  rule(scene, 'a job answers at once, and reports its exit and output once it has ended', ['jobs'], async (here) => {
    const { door, id, sandbox, mark } = here;
    const go = `/tmp/go-job-${mark}`;
    const jobs = door.jobs!;
    const job = await jobs.start(id, `echo begun; until [ -e ${go} ]; do sleep 0.05; done; echo end >&2; exit 4`);
    expect(await jobs.state(id, job)).toEqual({ state: 'running', exitCode: null });
    await sandbox.exec(['touch', go], { check: true });
    await expect
      .poll(() => jobs.state(id, job), { timeout: LIMIT_MS, interval: 200 })
      .toEqual({ state: 'exited', exitCode: 4 });
    expect((await jobs.output(id, job, 'stdout')).toString()).toBe('begun\n');
    expect((await jobs.output(id, job, 'stderr')).toString()).toBe('end\n');
  });

  rule(scene, 'its end does not depend on how much it wrote, and its tail can be read', ['jobs'], async (here) => {
    const { door, id } = here;
    const jobs = door.jobs!;
    const job = await jobs.start(id, `head -c 30000000 /dev/zero | tr '\\0' a; printf tail; exit 4`);
    await expect.poll(async () => (await jobs.state(id, job)).exitCode, { timeout: LIMIT_MS, interval: 200 }).toBe(4);
    expect((await jobs.output(id, job, 'stdout', 8)).toString()).toBe('aaaatail');
  });

  rule(scene, 'a job is killed with all it started', ['jobs'], async ({ door, id, sandbox }) => {
    const jobs = door.jobs!;
    const job = await jobs.start(id, 'sleep 64211 & sleep 64211');
    await expect
      .poll(async () => (await running(sandbox, 'sleep 64211')).length, { timeout: LIMIT_MS })
      .toBeGreaterThan(1);
    await jobs.kill(id, job);
    await expect.poll(() => running(sandbox, 'sleep 64211'), { timeout: LIMIT_MS }).toEqual([]);
    await expect.poll(async () => (await jobs.state(id, job)).exitCode, { timeout: LIMIT_MS, interval: 200 }).toBe(137);
  });

  rule(scene, 'processes that a job left running are killed with it, even after its end', ['jobs'], async (here) => {
    const { door, id, sandbox } = here;
    const jobs = door.jobs!;
    const job = await jobs.start(id, 'setsid sleep 64212 & sleep 64212 & exit 5');
    await expect.poll(() => jobs.state(id, job), { timeout: LIMIT_MS }).toEqual({ state: 'exited', exitCode: 5 });
    await expect.poll(async () => (await running(sandbox, 'sleep 64212')).length, { timeout: LIMIT_MS }).toBe(2);
    await jobs.kill(id, job);
    await expect.poll(() => running(sandbox, 'sleep 64212'), { timeout: LIMIT_MS }).toEqual([]);
    expect(await jobs.state(id, job)).toEqual({ state: 'exited', exitCode: 5 });
  });

  rule(scene, 'a job is killed even if it keeps starting processes', ['jobs'], async ({ door, id, sandbox }) => {
    const jobs = door.jobs!;
    // Slowly enough that the sandbox's process limit is not reached before the kill: the shell would exit by itself.
    const job = await jobs.start(id, 'while :; do setsid sleep 64.213 & sleep 0.03; done');
    await expect.poll(async () => (await running(sandbox, '64.213')).length, { timeout: LIMIT_MS }).toBeGreaterThan(9);
    await jobs.kill(id, job);
    await expect.poll(() => running(sandbox, 'setsid'), { timeout: LIMIT_MS }).toEqual([]);
    await expect.poll(async () => (await jobs.state(id, job)).exitCode, { timeout: LIMIT_MS }).toBe(137);
    expect(await running(sandbox, '64.213')).toEqual([]);
  });
}
