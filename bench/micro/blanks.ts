/**
 * The cost of blanks, without gateway and agent: `node bench/micro/blanks.ts [COUNT]`, as root. For each way to make
 * them: how many per second, CPU time and memory of each, and the time of a claim and of a removal.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Bench, type ContractSubject } from '../../agent/runtime/contract/subject.ts';
import { openOciRuntime } from '../../agent/runtime/oci/open.ts';
import { setupImage } from '../../src/cli/config.ts';
import { boxinitPath } from '../../src/cli/up/parts.ts';
import { silent } from '../../src/lib/logger.ts';
import type { Launched } from '../../agent/pool/launcher.ts';
import { machineUsedMb } from '../load/memory.ts';

const AT_ONCE = 8;
const DEFAULT_COUNT = 200;

const base = setupImage();
if (base === undefined) throw new Error('there is no base image; `npm run setup` makes it');
const { ref, tar } = base;
const imagesDir = mkdtempSync(path.join(tmpdir(), 'mbx-images-'));

const subject = (nursery: boolean): ContractSubject => ({
  name: nursery ? 'nursery' : 'runc',
  open: (dataDir) =>
    openOciRuntime({
      dataDir,
      boxinitPath: boxinitPath(),
      dockerSocket: '/var/run/docker.sock',
      runtime: 'oci',
      oci: { nursery, imagesDir, registry: { mirrors: {}, insecure: [] }, archives: { [ref]: tar } },
      log: silent,
    }),
  image: ref,
  failing: [],
  linux: true,
  kill: () => Promise.resolve(),
});

/** CPU time of the whole machine since it started, in ms: containers are not our child processes. */
function machineBusyMs(): number {
  const [, user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = (
    /^cpu .*$/m.exec(readFileSync('/proc/stat', 'utf8'))?.[0] ?? ''
  )
    .split(/\s+/)
    .map(Number);
  return (user + nice + system + irq + softirq) * 10;
}

/** Times of `work` for each item in ms, with bounded concurrency, and the total time. */
async function timed<T, R>(
  items: readonly T[],
  atOnce: number,
  work: (item: T) => Promise<R>,
): Promise<{ results: R[]; each: number[]; allMs: number }> {
  const results: R[] = [];
  const each: number[] = [];
  const left = [...items];
  const start = performance.now();
  const lane = async (): Promise<void> => {
    for (let item = left.pop(); item !== undefined; item = left.pop()) {
      const begin = performance.now();
      results.push(await work(item));
      each.push(performance.now() - begin);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  return { results, each: each.sort((a, b) => a - b), allMs: performance.now() - start };
}

const at = (sorted: readonly number[], share: number): string =>
  (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0).toFixed(2);

async function measure(nursery: boolean, count: number): Promise<void> {
  await using bench = await Bench.open(subject(nursery));
  await bench.launch();
  const usedMb = machineUsedMb();
  const busyMs = machineBusyMs();
  const launches = await timed(
    Array.from({ length: count }, (_, at) => at),
    AT_ONCE,
    () => bench.launch(),
  );
  const cpuMs = (machineBusyMs() - busyMs) / count;
  const eachMb = (machineUsedMb() - usedMb) / count;
  const claims = await timed(launches.results, 1, (launched: Launched) => bench.claim(launched));
  const claimedMb = (machineUsedMb() - usedMb) / count;
  const ends = await timed(launches.results, AT_ONCE, ({ container, link }) =>
    bench.launcher.discard(container.id, link),
  );
  process.stdout.write(
    [
      `${subject(nursery).name}: ${count} blanks, ${AT_ONCE} at once`,
      `  launch   ${((count * 1000) / launches.allMs).toFixed(0)}/s, p50 ${at(launches.each, 0.5)} ms, machine's processor time ${cpuMs.toFixed(1)} ms each`,
      `  memory   ${eachMb.toFixed(2)} MB each as a blank, ${claimedMb.toFixed(2)} MB once claimed`,
      `  claim    p50 ${at(claims.each, 0.5)} ms, p99 ${at(claims.each, 0.99)} ms, one at a time`,
      `  destroy  ${((count * 1000) / ends.allMs).toFixed(0)}/s, p50 ${at(ends.each, 0.5)} ms`,
      '',
    ].join('\n'),
  );
}

try {
  const count = Number(process.argv[2] ?? DEFAULT_COUNT);
  await measure(true, count);
  await measure(false, Math.ceil(count / 4));
} finally {
  rmSync(imagesDir, { recursive: true, force: true });
}
