/** A running service under the load of several processes. */
import { availableParallelism } from 'node:os';
import { calibrate } from '../load/calibration/calibrate.ts';
import { Fleet, type Phase } from '../load/fleet/fleet.ts';
import { LeakCheck } from '../load/fleet/leaks.ts';
import { WRONG } from '../load/generator/failure.ts';
import { createBurst, creates } from '../load/runs/creates.ts';
import { execStorm } from '../load/runs/exec-storm.ts';
import { LoadBench, type LoadRun, type Measured } from '../load/runs/load-run.ts';
import { rollouts } from '../load/runs/rollouts.ts';
import { percentilePlot, timelinePlot, type Named, type TimelineSeries } from '../report/plot/plots.ts';
import { ratio, round, type Row } from '../report/statistics.ts';
import type { Options, Outcome, Scenario, Target } from './scenario.ts';

export const LOADS: readonly LoadRun[] = [execStorm, createBurst, creates, rollouts];
const MAX_DEFAULT_GENERATORS = 4;
const MAX_WARM_UP = 64;

export const load: Scenario = {
  name: 'load',
  describe: `a service under load: ${LOADS.map(({ name }) => name).join(', ')}`,
  subjects: LOADS,
  pool: (options) => runOf(options).pool(options),

  async run(target, options): Promise<Outcome> {
    const run = runOf(options);
    const label = `load-${process.pid}-${Date.now().toString(36)}`;
    const generators = options.generators ?? Math.min(MAX_DEFAULT_GENERATORS, Math.max(2, availableParallelism()));
    await using fleet = new Fleet(generators);
    options.progress('load: calibrating the generators');
    const calibration = await calibrate(fleet, run.callers(options));
    options.progress('load: warming up');
    await warmUp(target, fleet, label, Math.min(MAX_WARM_UP, run.pool(options)));
    const leaks = await LeakCheck.begin(target, label);
    let measured: Measured;
    try {
      measured = await run.run(new LoadBench(options, target, fleet, label));
    } catch (error) {
      await target.client.sandboxes.deleteByLabel({ load: label }).catch(() => undefined);
      throw error;
    }
    options.progress('load: looking for what is left');
    const left = await leaks.end();
    // What is left has been counted: now it goes.
    await target.client.sandboxes.deleteByLabel({ load: label });

    const series = allSeries(measured);
    const errors = errorsOf(series);
    const busy = Math.max(...Object.values(measured.phases).flatMap((phase) => phase.usage.map((each) => each.busy)));
    const title = `${run.name}, runtime ${target.runtime}`;
    const setup = { ...measured.setup, generators };
    const subtitle = Object.entries(setup)
      .map(([key, value]) => `${key} ${value}`)
      .join(' · ');
    return {
      name: `load-${run.name}`,
      setup: { load: run.name, ...setup },
      rows: [...series.map(({ row }) => row), ...calibration.rows],
      ratios: {
        ...measured.ratios,
        failures: sum(Object.values(errors)),
        wrongAnswers: wrongOf(errors),
        leakedSandboxes: left.sandboxes,
        leakedOnNodes: left.onNodes,
        gatewayGrowthMb: left.gatewayGrowthMb,
        agentGrowthMb: left.agentGrowthMb,
        generatorBusy: round(busy),
        generatorCpuShare: cpuShare(Object.values(measured.phases)),
        noopExecsPerSec: calibration.execsPerSec,
      },
      errors,
      detail: detailOf(measured),
      plots: {
        percentiles: percentilePlot(title, subtitle, drawnTimes(measured)),
        timeline: timelinePlot(title, subtitle, drawnSeconds(measured)),
      },
    };
  },
};

/**
 * The first sandbox of an image waits for the image, and the first calls of a process for its compiler: no part of any
 * load. Phases that are compared would differ by it.
 */
async function warmUp(
  { client, image, url, apiKey }: Target,
  fleet: Fleet,
  label: string,
  count: number,
): Promise<void> {
  await using sandbox = client.sandboxes.create({ image, labels: { load: label } });
  await sandbox.exec(['/bin/true'], { check: true });
  await fleet.run({ workload: 'create-burst', server: { url, apiKey }, image, label, seed: 0, count });
}

function runOf(options: Options): LoadRun {
  const run = LOADS.find(({ name }) => name === options.subject);
  if (run === undefined) throw new Error(`which load? ${LOADS.map(({ name }) => name).join(', ')}`);
  return run;
}

interface Seen {
  name: string;
  row: Row;
  failures: ReadonlyMap<string, number>;
}

/** Every series of every phase. A phase alone needs no name. */
function allSeries({ phases }: Measured): Seen[] {
  const many = Object.keys(phases).length > 1;
  return Object.entries(phases).flatMap(([phaseName, { recording, elapsedMs }]) =>
    recording.names.map((seriesName) => {
      const name = many ? `${phaseName}.${seriesName}` : seriesName;
      const series = recording.series(seriesName);
      return { name, row: series.row(name, elapsedMs), failures: series.failures };
    }),
  );
}

function errorsOf(series: readonly Seen[]): Record<string, number> {
  return Object.fromEntries(
    series.flatMap(({ name, failures }) => [...failures].map(([code, times]) => [`${name}: ${code}`, times])),
  );
}

function wrongOf(errors: Record<string, number>): number {
  const wrong = Object.keys(WRONG);
  return sum(
    Object.entries(errors).map(([text, times]) => (wrong.some((code) => text.endsWith(`: ${code}`)) ? times : 0)),
  );
}

/** Of one cpu, all generators together, over all phases. */
function cpuShare(phases: readonly Phase[]): number | null {
  return ratio(
    sum(phases.flatMap(({ usage }) => usage.map(({ cpuMs }) => cpuMs))),
    sum(phases.map((p) => p.elapsedMs)),
  );
}

function drawnTimes({ phases, drawn }: Measured): Named[] {
  const entries = Object.entries(phases);
  return entries.flatMap(([phaseName, { recording }], i) =>
    drawn.map((name) => ({
      name: entries.length > 1 ? `${name}, ${phaseName}` : name,
      kind: name,
      times: recording.series(name).times,
      dashed: i > 0,
    })),
  );
}

function drawnSeconds({ phases, drawn }: Measured): TimelineSeries[] {
  // Phases begin at zero each: the first is the one that is drawn over time.
  const [first] = Object.values(phases);
  return first === undefined ? [] : drawn.map((name) => ({ name, seconds: first.recording.series(name).seconds }));
}

function detailOf({ phases, drawn }: Measured): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(phases).map(([name, { recording, usage, elapsedMs }]) => [
      name,
      {
        elapsedMs: round(elapsedMs),
        counters: Object.fromEntries(recording.counters),
        generators: usage.map((each) => ({
          cpuMs: round(each.cpuMs),
          busy: round(each.busy),
          maxStallMs: round(each.maxStallMs),
        })),
        histograms: Object.fromEntries(drawn.map((each) => [each, recording.series(each).times.toJSON()])),
      },
    ]),
  );
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
