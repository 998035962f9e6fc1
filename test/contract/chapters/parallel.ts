/** Commands in one sandbox run in parallel and share nothing but the sandbox. */
import { expect } from 'vitest';
import { LIMIT_MS, rule, type Scene } from '../rule.ts';

export function parallel(scene: Scene): void {
  rule(scene, 'each has its own directory, environment, input and exit code', [], async (here) => {
    const { door, id, sandbox, mark } = here;
    const count = Math.min(50, door.hurry);
    await sandbox.exec(`for i in $(seq 0 ${count}); do mkdir -p /tmp/par-${mark}/d$i; done`, { check: true });
    const outcomes = await Promise.all(
      Array.from({ length: count }, (_, i) =>
        door.run(id, 'sleep 0.2; pwd; cd ..; echo $T $(cat); export T=bad; exit $((T_NUMBER % 256))', {
          cwd: `/tmp/par-${mark}/d${i}`,
          env: { T: `t${i}`, T_NUMBER: String(i + 230) },
          stdin: `in${i}`,
        }),
      ),
    );
    outcomes.forEach(({ stdout, exitCode }, i) => {
      expect(stdout).toBe(`/tmp/par-${mark}/d${i}\nt${i} in${i}\n`);
      expect(exitCode).toBe((i + 230) % 256);
    });
  });

  rule(scene, 'they really run in parallel: all are alive at one time', [], async ({ door, id, mark }) => {
    const count = Math.min(10, door.hurry);
    // Each waits until it sees all the others, which none would if they ran one after another.
    const meet = `/tmp/meet-${mark}`;
    const all = `set -- ${meet}/*; [ $# -ge ${count} ]`;
    const command = `mkdir -p ${meet}; touch ${meet}/$N; until ${all}; do sleep 0.05; done`;
    const outcomes = await Promise.all(
      Array.from({ length: count }, (_, i) => door.run(id, command, { env: { N: String(i) }, timeoutMs: LIMIT_MS })),
    );
    expect(outcomes.map(({ exitCode }) => exitCode)).toEqual(outcomes.map(() => 0));
  });
}
