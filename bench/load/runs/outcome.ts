/** The outcome of a load: rows, ratios, errors, plots, and detail for readers of the JSON. */
import type { Outcome, Target } from '../../scenarios/scenario.ts';
import { percentilePlot, timelinePlot, type Named, type TimelineSeries } from '../../report/plot/plots.ts';
import { ratio, round, type Row } from '../../report/statistics.ts';
import type { calibrate } from '../calibration/calibrate.ts';
import type { Phase } from '../fleet/fleet.ts';
import type { LeakCheck } from '../fleet/leaks.ts';
import { WRONG } from '../generator/failure.ts';
import type { LoadRun, Measured } from './load-run.ts';

export interface Ended {
  run: LoadRun;
  target: Target;
  measured: Measured;
  calibration: Awaited<ReturnType<typeof calibrate>>;
  left: Awaited<ReturnType<LeakCheck['end']>>;
  generators: number;
}

export function outcomeOf({ run, target, measured, calibration, left, generators }: Ended): Outcome {
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
}

interface Seen {
  name: string;
  row: Row;
  failures: ReadonlyMap<string, number>;
}

/** Every series of every phase. A single phase needs no name. */
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

/** In percent of one CPU, over all generators and phases. */
function cpuShare(phases: readonly Phase[]): number | null {
  return ratio(
    sum(phases.flatMap(({ usage }) => usage.map(({ cpuMs }) => cpuMs))),
    sum(phases.map((p) => p.elapsedMs)),
  );
}

function plottedPhases({ phases, drawnPhases = Object.keys(phases) }: Measured): [string, Phase][] {
  return Object.entries(phases).filter(([name]) => drawnPhases.includes(name));
}

function drawnTimes(measured: Measured): Named[] {
  const { drawn } = measured;
  const entries = plottedPhases(measured);
  return entries.flatMap(([phaseName, { recording }], i) =>
    drawn.map((name) => ({
      name: entries.length > 1 ? `${name}, ${phaseName}` : name,
      kind: name,
      times: recording.series(name).times,
      dashed: i > 0,
    })),
  );
}

function drawnSeconds(measured: Measured): TimelineSeries[] {
  // Each phase begins at zero: only the first is plotted over time.
  const [, first] = plottedPhases(measured)[0] ?? [];
  return first === undefined
    ? []
    : measured.drawn.map((name) => ({ name, seconds: first.recording.series(name).seconds }));
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
