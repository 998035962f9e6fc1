/** The small part of SVG that plots need, as text. Everything written is escaped. */

export type Attributes = Record<string, string | number>;

/** An element as text. Children are elements already; plain text goes through `text`. */
export function element(name: string, attributes: Attributes, ...children: string[]): string {
  const written = Object.entries(attributes)
    .map(([key, value]) => ` ${key}="${escape(typeof value === 'number' ? short(value) : value)}"`)
    .join('');
  return children.length === 0 ? `<${name}${written}/>` : `<${name}${written}>${children.join('')}</${name}>`;
}

export function text(x: number, y: number, content: string, attributes: Attributes = {}): string {
  return element('text', { x, y, ...attributes }, escape(content));
}

export function line(x1: number, y1: number, x2: number, y2: number, attributes: Attributes = {}): string {
  return element('line', { x1, y1, x2, y2, ...attributes });
}

/** A path through the points; points that are not numbers interrupt it. */
export function path(points: readonly { x: number; y: number }[], attributes: Attributes): string {
  let begun = false;
  const d = points.map(({ x, y }) => {
    const known = Number.isFinite(x) && Number.isFinite(y);
    const step = known ? `${begun ? 'L' : 'M'}${short(x)} ${short(y)}` : '';
    begun = known;
    return step;
  });
  return element('path', { d: d.join(''), fill: 'none', ...attributes });
}

/** A complete image on white, so that it is readable on a dark page too. */
export function picture(width: number, height: number, title: string, ...children: string[]): string {
  return `${element(
    'svg',
    {
      xmlns: 'http://www.w3.org/2000/svg',
      viewBox: `0 0 ${width} ${height}`,
      width,
      height,
      role: 'img',
      'font-family': 'Helvetica, Arial, DejaVu Sans, sans-serif',
      'font-size': 12,
      fill: '#333',
    },
    element('title', {}, escape(title)),
    element('rect', { width, height, fill: '#fff' }),
    ...children.map((child) => `\n${child}`),
  )}\n`;
}

function escape(content: string): string {
  return content.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c] as string);
}

/** Less than a hundredth of a pixel is invisible. */
const short = (value: number): string => String(Math.round(value * 100) / 100);
