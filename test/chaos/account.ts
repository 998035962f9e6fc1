/** Describes a failed rollout: its calls and their answers, the faults around them, and the service's logs. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** All times are `performance.now()`. */
export interface Call {
  during: string;
  from: number;
  to: number;
  /** The answer in brief, or the error. */
  said: string;
}

export interface Fault {
  kind: string;
  /** Which part, if there are several. */
  what: string;
  at: number;
  mendedAt: number;
}

/** Logs are included from this long before a rollout until this long after it. */
const AROUND_MS = 3_000;
const MAX_LOG_LINES = 80;
const MAX_SAID = 400;
/** pino's level. */
const WARN = 40;

/** The calls of one rollout and the faults that may have affected them, in order of start. */
export function accountOf(calls: readonly Call[], faults: readonly Fault[], feltMs: number): string {
  const from = Math.min(...calls.map((call) => call.from));
  const to = Math.max(...calls.map((call) => call.to));
  const at = (ms: number): string => (Number.isFinite(ms) ? `${((ms - from) / 1_000).toFixed(2)}s` : 'the end');
  const felt = faults.filter((fault) => fault.mendedAt > from - feltMs && fault.at < to);
  const lines = [
    ...calls.map((call) => ({
      at: call.from,
      text: `${at(call.from)} to ${at(call.to)} ${call.during}: ${call.said.slice(0, MAX_SAID)}`,
    })),
    ...felt.map((fault) => ({
      at: fault.at,
      text: `${at(fault.at)} to ${at(fault.mendedAt)}     ** ${fault.kind} ${fault.what}`,
    })),
  ];
  return lines
    .toSorted((a, b) => a.at - b.at)
    .map(({ text }) => `  ${text}`)
    .join('\n');
}

/**
 * What the parts logged about these sandboxes, and their warnings around that time; the first lines if there are many.
 */
export function loggedOf(directory: string, ids: readonly string[], calls: readonly Call[]): string {
  const clock = performance.timeOrigin;
  const from = clock + Math.min(...calls.map((call) => call.from)) - AROUND_MS;
  const to = clock + Math.max(...calls.map((call) => call.to)) + AROUND_MS;
  const found: { time: number; text: string }[] = [];
  for (const file of readdirSync(directory)) {
    for (const line of readFileSync(join(directory, file), 'utf8').split('\n')) {
      const { time, level } = read(line);
      const about = ids.some((id) => line.includes(id));
      if (about || (level >= WARN && time > from && time < to)) found.push({ time, text: `  ${file}: ${line}` });
    }
  }
  const inOrder = found.toSorted((a, b) => a.time - b.time).map(({ text }) => text);
  return inOrder.slice(0, MAX_LOG_LINES).join('\n');
}

/** Of a line written by pino. */
function read(line: string): { time: number; level: number } {
  try {
    const { time, level } = JSON.parse(line) as { time?: unknown; level?: unknown };
    return { time: Number(time), level: Number(level) };
  } catch {
    return { time: NaN, level: NaN };
  }
}
