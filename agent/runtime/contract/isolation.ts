/** What a program in a container cannot do, on a runtime with a kernel below. */
import { expect, test } from 'vitest';
import { Bench, run, type ContractSubject, type Otherwise } from './subject.ts';

/** Docker's default set less NET_RAW (13) and MKNOD (27). */
const CAPABILITIES = 0xa80425fbn & ~(1n << 13n) & ~(1n << 27n);

export function isolationChapter(subject: ContractSubject): void {
  const asLinux = (what: Otherwise): boolean => subject.otherwise?.includes(what) !== true;

  test('programs have the default capabilities less NET_RAW and MKNOD', async () => {
    await using bench = await Bench.open(subject);
    const { link } = await bench.claimed();
    const { stdout } = await run(link, ['cat', '/proc/self/status']);
    for (const set of ['CapBnd', 'CapEff', 'CapPrm']) expect(BigInt(`0x${field(stdout, set)}`)).toBe(CAPABILITIES);
  });

  if (asLinux('filters')) {
    test('programs have no new privileges, and a seccomp filter', async () => {
      await using bench = await Bench.open(subject);
      const { link } = await bench.claimed();
      const { stdout } = await run(link, ['cat', '/proc/self/status']);
      expect([field(stdout, 'NoNewPrivs'), field(stdout, 'Seccomp')]).toEqual(['1', '2']);
    });
  }

  test('with the network off there is no interface but the loopback', async () => {
    await using bench = await Bench.open(subject);
    const { link } = await bench.claimed();
    const { stdout } = await run(link, ['cat', '/proc/net/dev']);
    const names = [...stdout.matchAll(/^\s*([\w.]+):/gm)].map(([, name]) => name);
    expect(
      names.filter((name) => name !== 'lo' && !/^(tunl|gre|gretap|erspan|ip_vti|ip6|sit|ip6gre)/.test(name ?? '')),
    ).toEqual([]);
  });

  test('boxinit is process 1, and its memory cannot be read', async () => {
    await using bench = await Bench.open(subject);
    const { link } = await bench.claimed();
    expect((await run(link, ['cat', '/proc/1/comm'])).stdout).toBe('boxinit\n');
    expect((await run(link, ['cat', '/proc/1/mem'])).stderr).toMatch(/Permission denied/);
  });

  test('what boxinit was told is in no environment', async () => {
    await using bench = await Bench.open(subject);
    const { link } = await bench.claimed();
    const env = await run(link, ['sh', '-c', 'set; env; cat /proc/*/environ 2>/dev/null']);
    // What it has wiped, where that can be read.
    expect(env.stdout.replaceAll(/MILLIBOX_TOKEN=x+\0/g, '')).not.toContain('MILLIBOX_TOKEN');
    if (asLinux('process 1')) expect((await run(link, ['cat', '/proc/1/environ'])).exit.exitCode).not.toBe(0);
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

  if (asLinux('memory')) {
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
  }

  test('the limit of processes of the claim holds', async () => {
    await using bench = await Bench.open(subject);
    const { link } = await bench.claimed({ limits: { cpus: 1, memoryMb: 64, diskMb: null, pidsLimit: 10 } });
    const script = 'for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do sleep 5 & done; echo all';
    const { stdout, stderr } = await run(link, ['sh', '-c', script]);
    expect(stdout).not.toContain('all');
    expect(stderr).toMatch(/fork/i);
  });
}

/** Of /proc/…/status. */
const field = (status: string, name: string): string =>
  new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(status)?.[1] ?? 'absent';
