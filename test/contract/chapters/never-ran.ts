/** A program that never ran is a separate kind of error, with nothing in stdout. */
import { expect } from 'vitest';
import { codeOf, rule, type Scene } from '../rule.ts';

export function neverRan(scene: Scene): void {
  rule(scene, 'a program that cannot be started', [], async ({ door, id }) => {
    const rows: [argv: string[], code: string][] = [
      [['/no/such/program'], 'exec_program_not_found'],
      [['no-such-program-anywhere'], 'exec_program_not_found'],
      [['/etc/passwd'], 'exec_permission_denied'],
      [['/etc'], 'exec_permission_denied'],
    ];
    expect(await Promise.all(rows.map(([argv]) => codeOf(door.run(id, argv))))).toEqual(rows.map(([, code]) => code));
  });

  rule(scene, "in a shell, the same yields the shell's own result", [], async ({ door, id }) => {
    expect((await door.run(id, 'no-such-program-anywhere')).exitCode).toBe(127);
  });

  rule(
    scene,
    'a working directory that is none, and nothing is made of it',
    [],
    async ({ door, id, sandbox, mark }) => {
      await sandbox.exec(`mkdir -p /tmp/gone-${mark} && rmdir /tmp/gone-${mark}`, { check: true });
      const places = ['/no/such', 'no-such-relative', '/etc/passwd', `/tmp/gone-${mark}`];
      const codes = await Promise.all(places.map((cwd) => codeOf(door.run(id, 'pwd', { cwd }))));
      expect(codes).toEqual(places.map(() => 'exec_bad_cwd'));
      expect((await sandbox.exec('test -e /no')).exitCode).toBe(1);
    },
  );

  rule(scene, 'a user that does not exist in the sandbox', [], async ({ door, id }) => {
    expect(await codeOf(door.run(id, 'id', { user: 'nobody-knows' }))).toBe('exec_bad_user');
  });

  rule(scene, "a single argv element over the kernel's limit", ['longText'], async ({ door, id }) => {
    expect(await codeOf(door.run(id, ['echo', 'x'.repeat(140_000)]))).toMatch(/^(exec_bad_args|invalid_request)$/);
    expect((await door.run(id, 'echo next')).stdout).toBe('next\n');
  });

  rule(scene, 'no room for another process', [], async ({ door, stack }) => {
    const crowded = await stack.client.sandboxes.create({ memoryMb: 64, pidsLimit: 12 });
    try {
      const fill = async (): Promise<string> => {
        const exec = crowded.exec(['sleep', '617']);
        exec.result.catch(() => undefined);
        return await exec.started.then(
          () => 'runs',
          (error: { code: string }) => error.code,
        );
      };
      let last = 'runs';
      for (let i = 0; i < 20 && last === 'runs'; i++) last = await fill();
      expect(last).toBe('exec_resource_limit');
      expect(await codeOf(door.run(crowded.id, ['true']))).toBe('exec_resource_limit');
    } finally {
      await crowded.delete();
    }
  });
}
