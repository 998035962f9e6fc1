/** Maps values to positions on an axis, and chooses its ticks. */

export interface Scale {
  /** 0 at the start of the axis, 1 at its end. NaN for values without a position. */
  at(value: number): number;
  ticks: readonly { value: number; label: string }[];
}

/** @param label formats a tick's value */
export function linearScale(max: number, label: (value: number) => string = plain): Scale {
  const step = niceStep((max > 0 ? max : 1) / 5);
  const end = Math.max(step, Math.ceil(max / step) * step);
  const count = Math.round(end / step);
  const ticks = Array.from({ length: count + 1 }, (_, i) => ({ value: i * step, label: label(i * step) }));
  return { at: (value) => value / end, ticks };
}

/** Powers of ten that enclose the values; 2 and 5 are labelled as well where there is room. */
export function logScale(min: number, max: number, label: (value: number) => string = plain): Scale {
  const [low, high] = min > 0 && max >= min ? [min, max] : [1, 10];
  const from = Math.floor(Math.log10(low));
  const to = Math.max(from + 1, Math.ceil(Math.log10(high)));
  const within = to - from <= 3 ? [1, 2, 5] : [1];
  const ticks = [];
  for (let power = from; power <= to; power++) {
    for (const times of within) {
      const value = Number((times * 10 ** power).toPrecision(3));
      if (power < to || times === 1) ticks.push({ value, label: label(value) });
    }
  }
  return { at: (value) => (value > 0 ? (Math.log10(value) - from) / (to - from) : Number.NaN), ticks };
}

/** Fractions, with the same room for each further nine: 90 %, 99 % and 99.9 % are equally far apart. */
export function percentileScale(samples: number): Scale {
  const nines = (q: number): number => Math.log10(1 / (1 - q));
  const end = Math.max(2, nines(1 - 0.5 / Math.max(1, samples)));
  const ticks = [0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999]
    .filter((q) => nines(q) <= end)
    .map((value) => ({ value, label: `${Number((value * 100).toFixed(3))} %` }));
  return { at: (q) => (q < 1 ? nines(q) / end : Number.NaN), ticks };
}

export function milliseconds(ms: number): string {
  if (ms === 0) return '0';
  if (ms >= 1000) return `${Number((ms / 1000).toPrecision(3))} s`;
  return ms < 1 ? `${Number((ms * 1000).toPrecision(3))} µs` : `${Number(ms.toPrecision(3))} ms`;
}

/** 1, 2 or 5 times a power of ten, and no less than `least`. */
function niceStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  for (const times of [1, 2, 5]) if (times * power >= least * 0.999) return times * power;
  return 10 * power;
}

/** Without binary rounding errors. */
const plain = (value: number): string => String(Number(value.toPrecision(6)));
