/** What the reporter writes and the summary reads. */
export type ResultLine =
  | { kind: 'run-start' }
  | { kind: 'start'; name: string }
  | { kind: 'result'; name: string; state: 'passed' | 'failed' | 'skipped'; note?: string; why?: string }
  | { kind: 'run-end' };

/**
 * Lines kept of a failure, including logs in its message: enough to find the reason even if only the end of a run's
 * output is kept.
 */
const MAX_WHY_LINES = 60;

export interface Tally {
  passed: number;
  failed: string[];
  /** Messages of failed tests, by name. */
  why: Map<string, string>;
  skipped: string[];
  /** Started but never ended: where a run hung. */
  running: string[];
  /** Whether every vitest run that began also ended. */
  complete: boolean;
}

/** Counts the reporter's lines over all phases. A line truncated by a kill is skipped. */
export function tally(files: readonly string[]): Tally {
  const total: Tally = { passed: 0, failed: [], why: new Map(), skipped: [], running: [], complete: true };
  for (const text of files) {
    const running = new Set<string>();
    let ended = false;
    for (const line of parse(text)) {
      if (line.kind === 'start') running.add(line.name);
      if (line.kind === 'run-end') ended = true;
      if (line.kind !== 'result') continue;
      running.delete(line.name);
      if (line.state === 'passed') total.passed += 1;
      else if (line.state === 'failed') {
        total.failed.push(line.name);
        if (line.why !== undefined) total.why.set(line.name, line.why);
      } else total.skipped.push(line.note === undefined ? line.name : `${line.name} (${line.note})`);
    }
    total.running.push(...running);
    if (!ended) total.complete = false;
  }
  return total;
}

/** The failures, each followed by its message. */
export function listFailures(failed: readonly string[], why: ReadonlyMap<string, string>): string {
  return failed
    .flatMap((name) => {
      const said = why.get(name)?.trimEnd().split('\n') ?? [];
      const left = said.length - MAX_WHY_LINES;
      const shown = left > 0 ? [...said.slice(0, MAX_WHY_LINES), `(and ${left} lines more above)`] : said;
      return [`  x ${name}`, ...shown.map((line) => `      ${line}`)];
    })
    .join('\n');
}

/** Adds up the `test result:` lines of `cargo test`, and names its failures. */
export function tallyCargo(log: string): { passed: number; failed: string[]; skipped: string[] } {
  let passed = 0;
  for (const match of log.matchAll(/^test result: .*?(\d+) passed; \d+ failed/gm)) passed += Number(match[1]);
  const named = (word: string): string[] =>
    [...log.matchAll(new RegExp(`^test (.+?)(?: - .*)? \\.\\.\\. ${word}`, 'gm'))].map((m) => `boxinit > ${m[1]}`);
  return { passed, failed: named('FAILED'), skipped: named('ignored') };
}

function* parse(text: string): Generator<ResultLine> {
  for (const line of text.split('\n')) {
    try {
      if (line !== '') yield JSON.parse(line) as ResultLine;
    } catch {
      // The last line of a killed run.
    }
  }
}
