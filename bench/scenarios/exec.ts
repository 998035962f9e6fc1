/** The time of one exec against a local spawn, a bare native spawn and Docker's exec API; and the rate of many. */
import { availableParallelism } from 'node:os';
import { DockerBaseline } from '../load/docker.ts';
import { closedLoop, interleave } from '../load/concurrency.ts';
import { mustSucceed, Sandboxes, TRUE_INSIDE } from '../load/sandboxes.ts';
import { spawnLoopRate, SpawnServer } from '../load/spawn-loop.ts';
import { spawnAndWait } from '../load/spawn.ts';
import { samplesPlot } from '../report/plot/plots.ts';
import { ratio, round, Samples } from '../report/statistics.ts';
import { failures, type Figures, type Outcome, type Scenario } from './scenario.ts';

const DEFAULT_ROUNDS = 1_000;
/** Until V8 has compiled an exec's code in all three processes: a service lives for days. */
const WARM_UP_ROUNDS = 3_000;
/** Docker's exec is some fifty times slower: it takes part only in every nth round. */
const DOCKER_EVERY = 20;
const LANES = 64;
const LOOP_MS = 3_000;
const LOOP_ROUNDS = 3;

export const exec: Scenario = {
  name: 'exec',
  describe: 'one command in a running sandbox, against local spawns and docker exec; 64 sandboxes in a closed loop',
  pool: () => LANES,

  async run(target, options): Promise<Outcome> {
    const rounds = options.n ?? DEFAULT_ROUNDS;
    const { true: trueFile, spawnLoop } = options.binaries;
    await using sandboxes = new Sandboxes(target.client, target.image);
    await using docker = await DockerBaseline.find(target.image, options.run.directory);
    await docker?.startIdle(trueFile, TRUE_INSIDE);

    const samples = execSamples();
    {
      options.progress('exec: warming up');
      const [sandbox] = await sandboxes.withTrue(1, trueFile);
      if (sandbox === undefined) throw new Error('no sandbox to measure in');
      await using server = new SpawnServer(spawnLoop, trueFile);
      const lanes = (into: typeof samples, dockerEvery: number) => [
        { run: () => into.exec.time(() => mustSucceed(sandbox.exec([TRUE_INSIDE]))) },
        { run: () => into.node.time(() => spawnAndWait(trueFile)) },
        { run: () => nativeSpawn(into.native, server) },
        ...(docker === undefined
          ? []
          : [{ every: dockerEvery, run: () => into.docker.time(() => docker.exec([TRUE_INSIDE])) }]),
      ];
      const unrecorded = { ...samples };
      for (const key of Object.keys(unrecorded) as (keyof typeof samples)[]) unrecorded[key] = new Samples('warm-up');
      await interleave(WARM_UP_ROUNDS, lanes(unrecorded, WARM_UP_ROUNDS));
      options.progress('exec: one at a time');
      await interleave(rounds, lanes(samples, DOCKER_EVERY));
      await sandboxes.delete(sandbox);
    }

    options.progress(`exec: ${LANES} sandboxes in a closed loop`);
    const many = await sandboxes.withTrue(LANES, trueFile);
    const loop = { samples: new Samples('exec.closed-loop'), elapsedMs: 0, nativePerSec: 0 };
    for (let round = 0; round < LOOP_ROUNDS; round++) {
      loop.elapsedMs += await closedLoop(LANES, LOOP_MS, (lane) =>
        loop.samples.time(() => mustSucceed((many[lane] as (typeof many)[number]).exec([TRUE_INSIDE]))),
      );
      // As many spawns as the sandboxes just ran, so that both take about as long.
      const n = Math.max(500, Math.round(loop.samples.times.length / (round + 1)));
      loop.nativePerSec += (await spawnLoopRate(spawnLoop, trueFile, availableParallelism(), n)) / LOOP_ROUNDS;
    }

    return {
      setup: { rounds, warmUpRounds: WARM_UP_ROUNDS, sandboxes: LANES, loopMs: LOOP_MS * LOOP_ROUNDS },
      ...execFigures(samples, loop),
      plots: {
        percentiles: samplesPlot('One command, one at a time', `a static program that does nothing, ${rounds} rounds`, [
          samples.exec,
          samples.node,
          samples.native,
          samples.docker,
        ]),
      },
    };
  },
};

export const execSamples = () => ({
  exec: new Samples('exec'),
  node: new Samples('node.spawn'),
  native: new Samples('posix_spawn'),
  docker: new Samples('docker.exec'),
});

/** `nativePerSec`: the rate of the bare loop on all cores. */
export function execFigures(
  { exec, node, native, docker }: ReturnType<typeof execSamples>,
  loop: { samples: Samples; elapsedMs: number; nativePerSec: number },
): Figures {
  const loopRow = loop.samples.row(loop.elapsedMs);
  return {
    rows: [exec.row(), node.row(), native.row(), docker.row(), loopRow],
    ratios: {
      execVsNodeSpawn: ratio(exec.p50, node.p50),
      execVsPosixSpawn: ratio(exec.p50, native.p50),
      dockerExecVsExec: ratio(docker.p50, exec.p50),
      throughputVsPosixSpawn: ratio(loopRow.perSec, loop.nativePerSec),
      posixSpawnPerSec: round(loop.nativePerSec),
    },
    errors: failures(exec, node, native, docker, loop.samples),
  };
}

async function nativeSpawn(into: Samples, server: SpawnServer): Promise<void> {
  try {
    into.add(await server.once());
  } catch (error) {
    into.fail(error);
  }
}
