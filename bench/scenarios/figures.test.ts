/** What scripts and goals read from a run: names and directions of its figures, and the form of its rows. */
import { expect, test } from 'vitest';
import { Samples, type Row } from '../report/statistics.ts';
import { burstFigures } from './burst.ts';
import { cluster } from './cluster.ts';
import { createFigures, createSamples } from './create.ts';
import { densityFigures } from './density.ts';
import { execFigures, execSamples } from './exec.ts';
import { imagesFigures, imagesSamples } from './images.ts';
import { primeFigures, primeSamples } from './prime.ts';
import type { Figures, Options } from './scenario.ts';
import { streamFigures, streamSamples } from './stream.ts';

const ROW = [
  'name',
  'n',
  'ok',
  'p50Ms',
  'p90Ms',
  'p95Ms',
  'p99Ms',
  'p999Ms',
  'maxMs',
  'perSec',
] satisfies (keyof Row)[];

/** Samples in which every call took this long. */
function took(name: string, ms: number, calls = 10): Samples {
  return fill(new Samples(name), ms, calls);
}

function fill(samples: Samples, ms: number, calls = 10): Samples {
  for (let i = 0; i < calls; i++) samples.add(ms);
  return samples;
}

function filled<K extends string>(samples: Record<K, Samples>, ms: Record<K, number>): Record<K, Samples> {
  for (const key of Object.keys(ms) as K[]) fill(samples[key], ms[key]);
  return samples;
}

/** What each row promises to scripts: these fields in this order, and no others. */
function expectRows({ rows }: Pick<Figures, 'rows'>, ...names: string[]): void {
  expect(rows.map(({ name }) => name)).toEqual(names);
  for (const row of rows) expect(Object.keys(row)).toEqual(ROW);
}

test('exec: against a spawn of Node, a native one and Docker, and its rate against the bare loop', () => {
  const figures = execFigures(filled(execSamples(), { exec: 2, node: 8, native: 1, docker: 100 }), {
    samples: took('exec.closed-loop', 30, 90),
    elapsedMs: 1_000,
    nativePerSec: 100,
  });
  expectRows(figures, 'exec', 'node.spawn', 'posix_spawn', 'docker.exec', 'exec.closed-loop');
  expect(figures.ratios).toMatchObject({
    execVsNodeSpawn: 0.25,
    execVsPosixSpawn: 2,
    dockerExecVsExec: 50,
    throughputVsPosixSpawn: 0.9,
  });
});

test('create: how many times longer docker run takes, and how many execs it costs', () => {
  const figures = createFigures(filled(createSamples(), { made: 4, execs: 2, runs: 400 }));
  expectRows(figures, 'create', 'exec', 'docker.run');
  expect(figures.ratios).toEqual({ dockerRunVsCreate: 100, createVsExec: 2 });
});

test("burst: all are counted, the slowest is named, and refills are compared with Docker's rate", () => {
  const burst = { samples: took('create+exec', 50), elapsedMs: 100 };
  burst.samples.fail(new Error('refused'));
  const docker = { samples: took('docker.run', 500), elapsedMs: 5_000 };
  const none = { samples: new Samples('create+exec.pool-empty'), elapsedMs: 0 };
  const figures = burstFigures({ burst, docker, refill: { ...none, perSec: 20 } });
  expectRows(figures, 'create+exec', 'docker.run');
  expect(figures.rows[0]).toMatchObject({ n: 11, ok: 10, maxMs: 50 });
  expect(figures.ratios).toMatchObject({ refillVsDocker: 10, refillPerSec: 20, burstMaxMs: 50, ok: 10 });
  expect(figures.errors).toEqual({ 'create+exec: refused': 1 });
});

test('density: what each sandbox costs, and an exec among all of them against one alone', () => {
  const figures = densityFigures(
    { created: took('create+exec', 100), alone: took('exec.alone', 2), among: took('exec.among', 3) },
    1_000,
    0.75,
  );
  expectRows(figures, 'create+exec', 'exec.alone', 'exec.among');
  expect(figures.ratios).toEqual({ rssPerSandboxMb: 0.75, execAmongVsAlone: 1.5, alive: 11 });
});

test('images: many against one, docker run against a create with no warm container, and the claim itself', () => {
  const figures = imagesFigures(filled(imagesSamples(), { many: 5, one: 4, cold: 10, runs: 250 }), [9, 1, 2]);
  expectRows(figures, 'create+exec.many-images', 'create+exec.one-image', 'create+exec.pool-empty', 'docker.run');
  expect(figures.ratios).toEqual({ imagesVsOne: 1.25, dockerRunVsCold: 25, claimP50Ms: 2 });
});

test('stream: our throughput relative to that of pipe and disk, and the growth of the process that grew most', () => {
  const samples = filled(streamSamples(), {
    stdout: 2_000,
    pipe: 1_000,
    upload: 4_000,
    write: 1_000,
    download: 5_000,
    read: 1_000,
  });
  const busy = {
    idle: took('exec.idle', 1),
    among: took('exec.among-streams', 3),
    spawnIdle: took('posix_spawn.idle', 1),
    spawnAmong: took('posix_spawn.among-streams', 2),
    othersVsBefore: 0.95,
  };
  const figures = streamFigures(samples, busy, 1_024, 25);
  expect(figures.rows.slice(0, 2).map(({ name }) => name)).toEqual(['stdout.sdk', 'stdout.node-pipe']);
  expect(figures.ratios).toMatchObject({
    streamVsNodePipe: 0.5,
    rssGrowthMb: 25,
    uploadVsDisk: 0.25,
    downloadVsDisk: 0.2,
    othersVsBefore: 0.95,
    execAmongStreamsP99VsIdle: 3,
    stdoutMibPerSec: 512,
  });
  expect(streamFigures(samples, busy, 1_024, null).ratios['rssGrowthMb']).toBeNull();
});

test('prime: the official client relative to the SDK, successful rollouts, and what they left', () => {
  const samples = filled(primeSamples(), { execs: 3, primeExecs: 6, creates: 10, primeCreates: 40 });
  const figures = primeFigures(samples, { samples: took('prime.rollouts', 100, 64), elapsedMs: 200, left: 0 });
  expectRows(figures, 'exec', 'prime.exec', 'create', 'prime.create', 'prime.rollouts');
  expect(figures.ratios).toEqual({ primeExecVsNative: 2, primeCreateVsNative: 4, rolloutsOk: 64, left: 0 });
});

test('cluster: the p99 of a placement, of a real run over a few nodes', async () => {
  const unused = () => {
    throw new Error('asked for what a cluster of this kind has not');
  };
  const options = { n: 500, nodes: 20, status: () => undefined, progress: unused } as Partial<Options> as Options;
  const figures = await cluster.standalone(options);
  expectRows(figures, 'decision', 'create.queue-to-node', 'decision.cluster-full');
  expect(figures.ratios['placementP99Ms']).toBe(figures.rows[1]?.p99Ms);
  expect(figures.ratios['missedWithRoom']).toBe(0);
});

test('what was not measured is null, and counts towards no goal', () => {
  const { ratios } = createFigures({
    ...filled(createSamples(), { made: 4, execs: 2, runs: 1 }),
    runs: new Samples('docker.run'),
  });
  expect(ratios).toEqual({ dockerRunVsCreate: null, createVsExec: 2 });
});
