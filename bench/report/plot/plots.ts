/** The plots of a run: the distribution of the times, and the course of a load. */
import { Histogram } from '../histogram.ts';
import type { Samples } from '../statistics.ts';
import { chart, type Curve } from './chart.ts';
import { linearScale, logScale, milliseconds, percentileScale } from './scale.ts';

export interface Named {
  name: string;
  /** Series of one kind have one colour. */
  kind: string;
  times: Histogram;
  dashed?: boolean;
}

/** Times against the share of calls that took no longer, with room for the slowest of a thousand. */
export function percentilePlot(title: string, subtitle: string, series: readonly Named[]): string {
  const known = series.filter(({ times }) => times.count > 0);
  const curves = known.map(({ name, kind, times, dashed }): Curve => {
    const points = times.cumulative().map(({ ms, count }) => ({ x: (count - 0.5) / times.count, y: ms }));
    const first = points[0];
    // From the left edge on: the fastest call is the fastest share.
    return {
      name,
      kind,
      ...(dashed === undefined ? {} : { dashed }),
      points: first ? [{ x: 0, y: first.y }, ...points] : [],
    };
  });
  return chart({
    title,
    subtitle,
    xLabel: 'share of calls that took no longer',
    x: percentileScale(Math.max(...known.map(({ times }) => times.count))),
    panels: [{ yLabel: 'time', y: timeScale(known.map(({ times }) => times)), curves }],
  });
}

/** The same for rows that keep every sample; a row without a success is left out. */
export function samplesPlot(title: string, subtitle: string, rows: readonly Samples[]): string {
  const series = rows.map(({ name, times: samples }): Named => {
    const times = new Histogram();
    for (const ms of samples) times.record(ms);
    return { name, kind: name, times };
  });
  return percentilePlot(title, subtitle, series);
}

/** One second of a run. */
export interface TimelineSeries {
  name: string;
  seconds: ReadonlyMap<number, { times: Histogram; failed: number }>;
}

/** Calls completed in each second, their median and 99th percentile, and failures. */
export function timelinePlot(title: string, subtitle: string, series: readonly TimelineSeries[]): string {
  const end = Math.max(1, ...series.flatMap(({ seconds }) => [...seconds.keys()].map((second) => second + 1)));
  const each = (name: string, of: (second: TimelineSeries['seconds']) => (index: number) => number, dashed = false) =>
    series.map(({ name: who, seconds }): Curve => {
      const value = of(seconds);
      const points = Array.from({ length: end }, (_, i) => ({ x: i + 0.5, y: value(i) }));
      return { name: `${who}${name}`, kind: who, points, dashed };
    });
  const done = each('', (seconds) => (i) => seconds.get(i)?.times.count ?? 0);
  const failed = each(' failed', (seconds) => (i) => seconds.get(i)?.failed ?? 0, true)
    .map((curve) => ({ ...curve, kind: curve.name }))
    .filter(({ points }) => points.some(({ y }) => y > 0));
  const slow = each(' p99', (seconds) => (i) => seconds.get(i)?.times.percentile(0.99) ?? Number.NaN, true);
  const median = each('', (seconds) => (i) => seconds.get(i)?.times.percentile(0.5) ?? Number.NaN);
  const most = Math.max(...[...done, ...failed].flatMap(({ points }) => points.map(({ y }) => y)));
  const times = series.flatMap(({ seconds }) => [...seconds.values()].map((second) => second.times));
  return chart({
    title,
    subtitle,
    xLabel: 'seconds from the start',
    x: linearScale(end),
    panels: [
      { yLabel: 'done per second', y: linearScale(most), curves: [...done, ...failed] },
      { yLabel: 'time: median and p99', y: timeScale(times), curves: [...median, ...slow] },
    ],
  });
}

function timeScale(all: readonly Histogram[]): ReturnType<typeof logScale> {
  const known = all.filter((times) => times.count > 0);
  const least = Math.min(...known.map((times) => Math.max(0.01, times.minMs)));
  return logScale(least, Math.max(...known.map((times) => times.maxMs)), milliseconds);
}
