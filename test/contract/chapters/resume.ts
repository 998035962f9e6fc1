/** Returning to a command by its id, and to a run by its idempotency key. */
import { expect } from 'vitest';
import { running } from '../../helpers/sandbox.ts';
import type { Live } from '../door.ts';
import { LIMIT_MS, codeOf, rule, type Scene } from '../rule.ts';

const textOf = ({ pieces }: Live): string => Buffer.concat(pieces.map(({ bytes }) => bytes)).toString();
/** Commands wait for this file, so that nothing here depends on timing. */
const waitFor = (file: string): string => `until [ -e ${file} ]; do sleep 0.05; done`;

export function resume(scene: Scene): void {
  rule(scene, 'a detached command continues, and reattaching loses nothing', ['attach'], async (here) => {
    const { door, id, sandbox, mark } = here;
    const go = `/tmp/go-${mark}`;
    const live = await door.live!(id, `echo before; ${waitFor(go)}; echo after; exit 4`, { detachedMs: LIMIT_MS });
    await live.saw('before');
    await live.leave();
    expect(await codeOf(live.ended)).toMatch(/^(cancelled|interrupted)$/);
    await sandbox.exec(['touch', go], { check: true });
    // It ends while detached: the exit is kept until it has been acknowledged.
    await expect.poll(() => running(sandbox, go), { timeout: LIMIT_MS }).toEqual([]);
    const again = await door.attach!(id, live.id);
    expect((await again.ended).exitCode).toBe(4);
    expect(textOf(again)).toBe('before\nafter\n');
    const taken = async (): Promise<string> => await codeOf((await door.attach!(id, live.id)).ended);
    await expect.poll(taken, { timeout: LIMIT_MS }).toBe('exec_not_found');
  });

  rule(scene, 'lost output is reported', ['attach'], async ({ door, id, sandbox, mark }) => {
    const go = `/tmp/go-lost-${mark}`;
    const command = `head -c 3000000 /dev/zero; echo written; ${waitFor(go)}; exit 3`;
    const live = await door.live!(id, command, { detachedMs: LIMIT_MS, ringBytes: 65_536 });
    await live.saw('written');
    await live.leave();
    // From the start: most of it has been overwritten by later output.
    const again = await door.attach!(id, live.id);
    await sandbox.exec(['touch', go], { check: true });
    expect((await again.ended).exitCode).toBe(3);
    const [lost] = again.lost;
    expect(again.lost.length).toBe(1);
    expect(lost).toMatchObject({ channel: 'stdout', from: 0 });
    const kept = Buffer.concat(again.pieces.map(({ bytes }) => bytes));
    expect(kept.length).toBeGreaterThanOrEqual(65_536);
    expect((lost?.to ?? 0) + kept.length).toBe(3_000_008);
  });

  rule(scene, 'one key is one run, however often and concurrently it is requested', ['key'], async (here) => {
    const { door, id, sandbox, mark } = here;
    const [go, runs] = [`/tmp/go-key-${mark}`, `/tmp/runs-${mark}`];
    const command = `echo run >> ${runs}; ${waitFor(go)}; cat; echo done; exit 5`;
    const ask = () => door.run(id, command, { key: `key-${mark}`, stdin: 'input\n' });
    const first = ask();
    first.catch(() => undefined);
    await expect.poll(async () => (await sandbox.exec(`cat ${runs}`)).stdout, { timeout: LIMIT_MS }).toBe('run\n');
    // A different request under the key of a run in progress is a mistake: it is neither run nor given that run's
    // output.
    expect(await codeOf(door.run(id, 'echo other', { key: `key-${mark}` }))).toBe('idempotency_conflict');
    const second = ask();
    await sandbox.exec(['touch', go], { check: true });
    expect(await second).toMatchObject({ exitCode: 5, stdout: 'input\ndone\n' });
    // Over streams, the second takes the run over from the first, which gets an error.
    const [before] = await Promise.allSettled([first]);
    if (before.status === 'fulfilled') expect(before.value).toMatchObject({ exitCode: 5, stdout: 'input\ndone\n' });
    else expect(await codeOf(first)).toMatch(/^(cancelled|interrupted)$/);
    expect((await sandbox.exec(`cat ${runs}`)).stdout).toBe('run\n');
  });

  rule(scene, 'a run that never started leaves its key free', ['key'], async ({ door, id, mark }) => {
    const key = `free-${mark}`;
    expect(await codeOf(door.run(id, 'true', { key, cwd: '/no/such' }))).toBe('exec_bad_cwd');
    expect((await door.run(id, 'echo ran', { key })).stdout).toBe('ran\n');
  });

  rule(scene, 'another request under a key is a conflict', ['key', 'conflict'], async ({ door, id, mark }) => {
    const key = `conflict-${mark}`;
    expect((await door.run(id, 'echo one', { key })).stdout).toBe('one\n');
    expect((await door.run(id, 'echo one', { key })).stdout).toBe('one\n');
    expect(await codeOf(door.run(id, 'echo two', { key }))).toBe('idempotency_conflict');
  });
}
