/** Tables for people. */

const GAP = '  ';
const ELLIPSIS = '…';
/** A cell is never cut shorter than this: less would be meaningless. */
const MIN_CELL = 8;
/** Characters from here on may be two cells wide; those that are not get more room than they need. */
const WIDE_FROM = 0x1100;

/**
 * Lines with columns as wide as their widest cell. No line is wider than `width`: the widest columns are shortened
 * first, then the last ones are left out; the first stays. Cells contain no control characters.
 * @param width of the terminal; undefined if there is none: then nothing is shortened
 */
export function tableLines(rows: readonly (readonly string[])[], width?: number): string[] {
  let widths = columnWidths(rows);
  if (width !== undefined) widths = fit(widths, Math.max(width, 1));
  return rows.map((row) =>
    widths
      .map((cells, i) => pad(shorten(row[i] ?? '', cells), cells))
      .join(GAP)
      .trimEnd(),
  );
}

function columnWidths(rows: readonly (readonly string[])[]): number[] {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, cellsOf(cell))));
  return widths;
}

function fit(natural: readonly number[], width: number): number[] {
  const widths = [...natural];
  for (;;) {
    const over = widths.reduce((sum, cells) => sum + cells + GAP.length, -GAP.length) - width;
    if (over <= 0) return widths;
    // The first column holds the ids or names that the next command is given.
    const rest = widths.slice(1);
    const widest = Math.max(...rest);
    if (rest.length === 0) return [Math.min(widths[0] ?? 0, width)];
    if (widest > MIN_CELL) widths[1 + rest.indexOf(widest)] = widest - 1;
    else widths.pop();
  }
}

const cellsOf = (text: string): number =>
  [...text].reduce((sum, char) => sum + ((char.codePointAt(0) as number) >= WIDE_FROM ? 2 : 1), 0);

const pad = (text: string, cells: number): string => text + ' '.repeat(Math.max(0, cells - cellsOf(text)));

function shorten(text: string, cells: number): string {
  if (cellsOf(text) <= cells) return text;
  let kept = '';
  let used = 1;
  for (const char of text) {
    used += cellsOf(char);
    if (used > cells) break;
    kept += char;
  }
  return kept + ELLIPSIS;
}
