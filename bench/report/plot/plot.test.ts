import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Histogram } from '../histogram.ts';
import { Samples } from '../statistics.ts';
import { percentilePlot, samplesPlot, timelinePlot } from './plots.ts';
import { linearScale, logScale, milliseconds, percentileScale, type Scale } from './scale.ts';
import { element, path, text } from './svg.ts';

const inside = (scale: Scale): void => {
  for (const { value } of scale.ticks) {
    expect(scale.at(value)).toBeGreaterThanOrEqual(-1e-9);
    expect(scale.at(value)).toBeLessThanOrEqual(1 + 1e-9);
  }
  expect(scale.ticks.length).toBeGreaterThan(1);
  expect(scale.ticks.length).toBeLessThan(16);
};

test('every value lies on its axis, in order, and the axis has a readable number of ticks', () => {
  fc.assert(
    fc.property(
      fc.double({ min: 1e-3, max: 1e7, noNaN: true }),
      fc.double({ min: 1, max: 1e4, noNaN: true }),
      (min, f) => {
        const linear = linearScale(min);
        inside(linear);
        expect(linear.at(min)).toBeLessThanOrEqual(1 + 1e-9);
        const log = logScale(min, min * f);
        inside(log);
        expect(log.at(min)).toBeGreaterThanOrEqual(-1e-9);
        expect(log.at(min * f)).toBeLessThanOrEqual(1 + 1e-9);
        expect(log.at(min * 1.01)).toBeGreaterThan(log.at(min));
      },
    ),
  );
});

test('each further nine of a percentile takes the same room, and 100 % has no place', () => {
  const scale = percentileScale(100_000);
  inside(scale);
  expect(scale.at(0)).toBe(0);
  expect(scale.at(0.99) - scale.at(0.9)).toBeCloseTo(scale.at(0.999) - scale.at(0.99), 6);
  expect(scale.at(1)).toBeNaN();
});

test('times are written as people write them', () => {
  expect([0.02, 0.5, 1, 20, 1000, 1500].map(milliseconds)).toEqual([
    '20 µs',
    '500 µs',
    '1 ms',
    '20 ms',
    '1 s',
    '1.5 s',
  ]);
});

test('whatever a text or an attribute contains, it stays text', () => {
  expect(element('a', { b: '"<&' }, text(1, 2, '<script>&'))).toBe(
    '<a b="&quot;&lt;&amp;"><text x="1" y="2">&lt;script&gt;&amp;</text></a>',
  );
});

test('a gap in the points is a gap in the path', () => {
  const points = [1, 2, Number.NaN, 4, 5].map((y, x) => ({ x, y }));
  expect(path(points, {})).toBe('<path d="M0 1L1 2M3 4L4 5" fill="none"/>');
});

/** Tags are opened and closed in order, and no number is NaN. */
function wellFormed(svg: string): void {
  const open: string[] = [];
  for (const [, close, name, empty] of svg.matchAll(/<(\/?)([\w-]+)[^>]*?(\/?)>/g)) {
    if (close === '/') expect(open.pop()).toBe(name);
    else if (empty !== '/') open.push(name as string);
  }
  expect(open).toEqual([]);
  expect(svg).not.toMatch(/NaN|Infinity|undefined/);
}

test('plots are well formed, name what they show, and work for runs of one call, of none, and of failures only', () => {
  const one = new Histogram();
  one.record(3);
  const many = new Histogram();
  for (let i = 1; i <= 5_000; i++) many.record(i / 100);
  for (const times of [one, many]) {
    const svg = percentilePlot('exec <storm>', '2 cpus', [
      { name: 'exec', kind: 'exec', times },
      { name: 'none', kind: 'none', times: new Histogram() },
    ]);
    wellFormed(svg);
    expect(svg).toContain('exec &lt;storm&gt;');
    expect(svg).toContain('99 %');
  }
  const seconds = new Map([
    [0, { times: many, failed: 0 }],
    [2, { times: new Histogram(), failed: 4 }],
  ]);
  const timeline = timelinePlot('run', '', [{ name: 'exec', seconds }]);
  wellFormed(timeline);
  expect(timeline).toContain('exec failed');
  wellFormed(timelinePlot('nothing', '', [{ name: 'exec', seconds: new Map() }]));
  wellFormed(percentilePlot('nothing', '', []));
});

test('rows with samples are drawn, and a row in which every call failed is left out', () => {
  const [some, none] = [new Samples('some'), new Samples('none')];
  for (const ms of [1, 2, 3, 50]) some.add(ms);
  none.fail(new Error('no'));
  const drawn = samplesPlot('title', 'subtitle', [some, none]);
  expect(drawn).toContain('some');
  expect(drawn).not.toContain('none</text>');
});
