/** What is particular about sandboxes on gVisor's kernel. */
import { expect, test } from 'vitest';
import { Bench, codeOf, run } from '../../../agent/runtime/contract/subject.ts';
import { leftMounts } from '../../helpers/leftovers.ts';
import { until } from '../../helpers/until.ts';
import { gvisorSubject } from './subject.ts';

const LIMIT_MS = 90_000;
const LIMITS = { cpus: 1, memoryMb: 256, diskMb: null, pidsLimit: 64 };

test('programs run on a kernel that is not the host’s, on the image, and write only to their own part', async () => {
  let dataDir = '';
  {
    await using bench = await Bench.open(gvisorSubject());
    dataDir = bench.dataDir;
    const [{ link }, other] = await Promise.all([bench.claimed({ limits: LIMITS }), bench.claimed({ limits: LIMITS })]);
    const sh = async (script: string, on = link): Promise<string> =>
      (await run(on, ['sh', '-c', script])).stdout.trim();
    expect(await sh('dmesg')).toContain('gVisor');
    expect(await sh('cat /etc/hosts')).toContain('localhost');
    await sh('echo mine >/etc/mine');
    expect(await sh('cat /etc/mine')).toBe('mine');
    expect(await sh('ls /etc/mine', other.link)).toBe('');
  }
  expect(leftMounts(dataDir)).toEqual([]);
});

test('the token is not in what process 1 shows', async () => {
  await using bench = await Bench.open(gvisorSubject());
  const { link } = await bench.claimed({ limits: LIMITS });
  const { stdout } = await run(link, ['sh', '-c', 'tr "\\0" "\\n" </proc/1/environ']);
  expect(stdout).not.toMatch(/MILLIBOX_TOKEN=[^x\n]/);
});

test('beyond its memory the whole sandbox ends, and is told as ended for memory', async () => {
  await using bench = await Bench.open(gvisorSubject());
  const ended: boolean[] = [];
  bench.runtime.onExit((_id, { oomKilled }) => ended.push(oomKilled));
  const { link } = await bench.claimed({ limits: { ...LIMITS, memoryMb: 64 } });
  const outcome = await codeOf(run(link, ['sh', '-c', 'tail -n 1 /dev/zero >/dev/null']));
  expect(outcome).toBe('interrupted');
  await until(() => ended.length > 0, LIMIT_MS, 'the end of the sandbox');
  expect(ended).toEqual([true]);
});

test('what it cannot do is refused, not ignored', async () => {
  await using bench = await Bench.open(gvisorSubject());
  expect(await codeOf(bench.launch({ network: 'internet' }))).toBe('not_supported');
  expect(await codeOf(bench.launch({ limits: { ...LIMITS, diskMb: 64 } }))).toBe('not_supported');
});
