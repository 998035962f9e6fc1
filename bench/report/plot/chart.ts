/** Curves over axes: one image of one or more panels, stacked, with one legend. */
import type { Scale } from './scale.ts';
import { element, line, path, picture, text } from './svg.ts';

export interface Curve {
  name: string;
  /** Curves of one kind have one colour. */
  kind: string;
  points: readonly { x: number; y: number }[];
  /** Distinguishes it from the others without colour, too. */
  dashed?: boolean;
}

interface Panel {
  yLabel: string;
  y: Scale;
  curves: readonly Curve[];
}

export interface ChartOptions {
  title: string;
  subtitle: string;
  xLabel: string;
  x: Scale;
  panels: readonly Panel[];
  panelHeight?: number;
}

const WIDTH = 860;
const LEFT = 84;
const RIGHT = 24;
const TOP = 86;
const BOTTOM = 50;
const GAP = 26;
/** Distinguishable with colour blindness, too (Okabe and Ito). */
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000'];
const LETTER_WIDTH = 7.2;

export function chart(options: ChartOptions): string {
  const { title, subtitle, xLabel, x, panels, panelHeight = panels.length > 1 ? 190 : 360 } = options;
  const height = TOP + panels.length * panelHeight + (panels.length - 1) * GAP + BOTTOM;
  const kinds = [...new Set(panels.flatMap((panel) => panel.curves.map((curve) => curve.kind)))];
  const colourOf = ({ kind }: Curve): string => COLOURS[kinds.indexOf(kind) % COLOURS.length] as string;
  const drawn = panels.map((panel, i) => {
    const top = TOP + i * (panelHeight + GAP);
    return drawPanel(panel, { x, top, height: panelHeight, last: i === panels.length - 1 }, colourOf);
  });
  return picture(
    WIDTH,
    height,
    title,
    text(LEFT, 26, title, { 'font-size': 17, 'font-weight': 'bold', fill: '#111' }),
    text(LEFT, 45, subtitle, { fill: '#666' }),
    legend(panels, colourOf),
    ...drawn,
    text((LEFT + WIDTH - RIGHT) / 2, height - 12, xLabel, { 'text-anchor': 'middle' }),
  );
}

interface Place {
  x: Scale;
  top: number;
  height: number;
  last: boolean;
}

function drawPanel(panel: Panel, { x, top, height, last }: Place, colourOf: (curve: Curve) => string): string {
  const width = WIDTH - LEFT - RIGHT;
  const px = (value: number): number => LEFT + x.at(value) * width;
  const py = (value: number): number => top + height - panel.y.at(value) * height;
  const bottom = top + height;
  const across = panel.y.ticks.flatMap(({ value, label }) => [
    line(LEFT, py(value), WIDTH - RIGHT, py(value), { stroke: '#e4e4e4' }),
    text(LEFT - 8, py(value) + 4, label, { 'text-anchor': 'end' }),
  ]);
  const up = x.ticks.flatMap(({ value, label }) => [
    line(px(value), top, px(value), bottom, { stroke: '#eeeeee' }),
    ...(last ? [text(px(value), bottom + 18, label, { 'text-anchor': 'middle' })] : []),
  ]);
  const curves = panel.curves.map((curve) =>
    path(
      curve.points.map((point) => ({ x: px(point.x), y: py(point.y) })),
      { stroke: colourOf(curve), 'stroke-width': 2, 'stroke-linejoin': 'round', ...dash(curve) },
    ),
  );
  const middle = top + height / 2;
  return element(
    'g',
    {},
    ...across,
    ...up,
    line(LEFT, bottom, WIDTH - RIGHT, bottom, { stroke: '#888' }),
    line(LEFT, top, LEFT, bottom, { stroke: '#888' }),
    ...curves,
    text(16, middle, panel.yLabel, { 'text-anchor': 'middle', transform: `rotate(-90 16 ${middle})` }),
  );
}

function legend(panels: readonly Panel[], colourOf: (curve: Curve) => string): string {
  const curves = new Map(panels.flatMap((panel) => panel.curves.map((curve) => [curve.name, curve] as const)));
  let x = LEFT;
  const entries = [...curves.values()].map((curve) => {
    const at = x;
    x += 34 + curve.name.length * LETTER_WIDTH + 14;
    return [
      line(at, 66, at + 26, 66, { stroke: colourOf(curve), 'stroke-width': 3, ...dash(curve) }),
      text(at + 32, 70, curve.name),
    ].join('');
  });
  return element('g', {}, ...entries);
}

const dash = (curve: Curve): Record<string, string> => (curve.dashed === true ? { 'stroke-dasharray': '6 4' } : {});
