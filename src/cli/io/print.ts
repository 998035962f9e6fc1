/** Lists for people and JSON for scripts. */
import { tableLines } from './table.ts';

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** Columns that fit the terminal; at full width if there is none. */
export function printTable(header: readonly string[], rows: readonly (readonly string[])[]): void {
  const { isTTY, columns } = process.stdout;
  const lines = tableLines([header, ...rows.map((row) => row.map(printable))], (isTTY && columns) || undefined);
  process.stdout.write(`${lines.join('\n')}\n`);
}

/**
 * Foreign text on one line: characters that control a terminal, or reverse the direction of text, are shown escaped.
 */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, (char) => {
    const code = char.charCodeAt(0).toString(16);
    return code.length > 2 ? `\\u${code.padStart(4, '0')}` : `\\x${code.padStart(2, '0')}`;
  });
}

/** How long ago, briefly. */
export function age(iso: string, now = Date.now()): string {
  const seconds = Math.max(0, Math.round((now - Date.parse(iso)) / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)}m`;
  if (seconds < 172_800) return `${Math.round(seconds / 3_600)}h`;
  return `${Math.round(seconds / 86_400)}d`;
}
