/** What a program in a container cannot do, on a runtime with a kernel below. */
import { expect, test } from 'vitest';
import { Bench, run, type ContractSubject } from './subject.ts';

/** Docker's default set less NET_RAW (13) and MKNOD (27). */
const CAPABILITIES = 0xa80425fbn & ~(1n << 13n) & ~(1n << 27n);

export function isolationChapter(subject: ContractSubject): void {
  test('programs have the default capabilities less NET_RAW and MKNOD, no new privileges, and a seccomp filter', async () => {
    await using bench = await Bench.open(subject);
    const { link } = await bench.claimed();
    const { stdout } = await run(link, ['cat', '/proc/self/status']);
    const field = (name: string): string => new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(stdout)?.[1] ?? 'absent';
    for (const set of ['CapBnd', 'CapEff', 'CapPrm']) expect(BigInt(`0x${field(set)}`)).toBe(CAPABILITIES);
    expect([field('NoNewPrivs'), field('Seccomp')]).toEqual(['1', '2']);
  });

  test('with the network off there is no interface but the loopback', async () => {
    await using bench = await Bench.open(subject);
    const { link } = await bench.claimed();
    const { stdout } = await run(link, ['cat', '/proc/net/dev']);
    const names = [...stdout.matchAll(/^\s*([\w.]+):/gm)].map(([, name]) => name);
    expect(
      names.filter((name) => name !== 'lo' && !/^(tunl|gre|gretap|erspan|ip_vti|ip6|sit|ip6gre)/.test(name ?? '')),
    ).toEqual([]);
  });

  test('boxinit is process 1, and its environment and memory cannot be read', async () => {
    await using bench = await Bench.open(subject);
    const { link } = await bench.claimed();
    expect((await run(link, ['cat', '/proc/1/comm'])).stdout).toBe('boxinit\n');
    expect((await run(link, ['cat', '/proc/1/environ'])).exit.exitCode).not.toBe(0);
    const env = await run(link, ['sh', '-c', 'set; env; cat /proc/*/environ 2>/dev/null']);
    expect(env.stdout).not.toContain('MILLIBOX_TOKEN');
  });

  test('what the host lends cannot be written', async () => {
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

  test('the memory limit of the claim kills the program and not the sandbox, and is counted', async () => {
    await using bench = await Bench.open(subject);
    const { container, link } = await bench.claimed({
      limits: { cpus: 1, memoryMb: 32, diskMb: null, pidsLimit: 64 },
    });
    // tail keeps its last line whole, and this one does not end.
    const { exit } = await run(link, ['sh', '-c', 'tail -n 1 /dev/zero >/dev/null']);
    expect(exit.exitCode).toBe(137);
    expect(await bench.runtime.oomKills(container.id)).toBeGreaterThan(0);
    expect((await run(link, ['true'])).exit.exitCode).toBe(0);
  });

  test('the limit of processes of the claim holds', async () => {
    await using bench = await Bench.open(subject);
    const { link } = await bench.claimed({ limits: { cpus: 1, memoryMb: 64, diskMb: null, pidsLimit: 10 } });
    const script = 'for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do sleep 5 & done; echo all';
    const { stdout, stderr } = await run(link, ['sh', '-c', script]);
    expect(stdout).not.toContain('all');
    expect(stderr).toMatch(/fork/i);
  });
}
