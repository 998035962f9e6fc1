/** What a program in a container cannot do, on runtimes that use a kernel. */
import { expect, test } from 'vitest';
import { Bench, run, type ContractSubject, type Otherwise } from './subject.ts';

/** Docker's default set without NET_RAW (13) and MKNOD (27). */
const CAPABILITIES = 0xa80425fbn & ~(1n << 13n) & ~(1n << 27n);

export function isolationChapter(subject: ContractSubject): void {
  const asLinux = (what: Otherwise): boolean => subject.otherwise?.includes(what) !== true;

  test('programs have the default capabilities without NET_RAW and MKNOD', async () => {
    await using bench = await Bench.open(subject);
    const { link } = await bench.claimed();
    const { stdout } = await run(link, ['cat', '/proc/self/status']);
    for (const set of ['CapBnd', 'CapEff', 'CapPrm']) expect(BigInt(`0x${field(stdout, set)}`)).toBe(CAPABILITIES);
  });

  if (asLinux('filters')) {
    test('programs have no_new_privs and a seccomp filter', async () => {
      await using bench = await Bench.open(subject);
      const { link } = await bench.claimed();
      const { stdout } = await run(link, ['cat', '/proc/self/status']);
      expect([field(stdout, 'NoNewPrivs'), field(stdout, 'Seccomp')]).toEqual(['1', '2']);
    });
  }

  test('with the network off the only interface is the loopback', async () => {
    await using bench = await Bench.open(subject);
    const { link } = await bench.claimed();
    const { stdout } = await run(link, ['cat', '/proc/net/dev']);
    const names = [...stdout.matchAll(/^\s*([\w.]+):/gm)].map(([, name]) => name);
    expect(
      names.filter((name) => name !== 'lo' && !/^(tunl|gre|gretap|erspan|ip_vti|ip6|sit|ip6gre)/.test(name ?? '')),
    ).toEqual([]);
  });

  test('boxinit is PID 1, and its memory cannot be read', async () => {
    await using bench = await Bench.open(subject);
    const { link } = await bench.claimed();
    expect((await run(link, ['cat', '/proc/1/comm'])).stdout).toBe('boxinit\n');
    expect((await run(link, ['cat', '/proc/1/mem'])).stderr).toMatch(/Permission denied/);
  });

  test("boxinit's own environment reaches no program", async () => {
    await using bench = await Bench.open(subject);
    const { link } = await bench.claimed();
    const env = await run(link, ['sh', '-c', 'set; env; cat /proc/*/environ 2>/dev/null']);
    // Where it can be read, the token is wiped.
    expect(env.stdout.replaceAll(/MILLIBOX_TOKEN=x+\0/g, '')).not.toContain('MILLIBOX_TOKEN');
    if (asLinux('process 1')) expect((await run(link, ['cat', '/proc/1/environ'])).exit.exitCode).not.toBe(0);
  });

  test('read-only host mounts cannot be written', async () => {
    await using bench = await Bench.open(subject);
    const { link } = await bench.claimed();
    const script = [
      'for f in /.millibox/agent.sock /.millibox/run/agent.sock; do',
      '[ -e $f ] && touch ${f%/*}/x 2>/dev/null && echo $f; done;',
      'for f in /.millibox/boxinit /.millibox/bin/boxinit; do',
      '[ -e $f ] && (echo x >>$f) 2>/dev/null && echo $f; done; true',
    ];
    expect((await run(link, ['sh', '-c', script.join(' ')])).stdout).toBe('');
  });

  if (asLinux('memory')) {
    test("the claim's memory limit kills the program, not the sandbox, and the kill is counted", async () => {
      await using bench = await Bench.open(subject);
      const { container, link } = await bench.claimed({
        limits: { cpus: 1, memoryMb: 32, diskMb: null, pidsLimit: 64 },
      });
      // tail buffers its last line, and this one never ends. The shell outlives it, as does boxinit.
      const hungry = 'tail -n 1 /dev/zero >/dev/null; echo $?';
      for (let round = 1; round <= 10; round++) {
        const { stdout, exit } = await run(link, ['sh', '-c', hungry]);
        expect([stdout, exit.exitCode], `round ${round}`).toEqual(['137\n', 0]);
        expect(await bench.runtime.oomKills(container.id)).toBe(round);
      }
    });
  }

  test("the claim's process limit is enforced", async () => {
    await using bench = await Bench.open(subject);
    const { link } = await bench.claimed({ limits: { cpus: 1, memoryMb: 64, diskMb: null, pidsLimit: 10 } });
    const script = 'for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do sleep 5 & done; echo all';
    const { stdout, stderr } = await run(link, ['sh', '-c', script]);
    expect(stdout).not.toContain('all');
    expect(stderr).toMatch(/fork/i);
  });
}

/** A field of /proc/…/status. */
const field = (status: string, name: string): string =>
  new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(status)?.[1] ?? 'absent';
