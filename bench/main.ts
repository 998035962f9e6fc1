/** `npm run -s bench -- SCENARIO [--json]`: JSON or a table on stdout, progress on stderr. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { boxinitPath } from '../src/cli/up/parts.ts';
import { BenchRun } from './load/run.ts';
import { startTarget } from './load/target.ts';
import { LiveLine } from './report/live-line.ts';
import { toMarkdown } from './report/markdown.ts';
import { describeHost, toTable, type Report } from './report/report.ts';
import { burst } from './scenarios/burst.ts';
import { cluster } from './scenarios/cluster.ts';
import { create } from './scenarios/create.ts';
import { density } from './scenarios/density.ts';
import { exec } from './scenarios/exec.ts';
import { images } from './scenarios/images.ts';
import { load, LOADS } from './scenarios/load.ts';
import { prime } from './scenarios/prime.ts';
import { scale } from './scenarios/scale.ts';
import type { Options, Outcome, Scenario, Standalone } from './scenarios/scenario.ts';
import { stream } from './scenarios/stream.ts';

const SCENARIOS: readonly (Scenario | Standalone)[] = [
  exec,
  create,
  burst,
  density,
  images,
  stream,
  prime,
  load,
  scale,
  cluster,
];
const ROOT = join(import.meta.dirname, '..');
const RELEASE = dirname(boxinitPath());

const list = (each: readonly { name: string; describe: string }[]): string =>
  each.map(({ name, describe }) => `  ${name.padEnd(12)} ${describe}`).join('\n');
const USAGE = `Usage: npm run -s bench -- SCENARIO [options]
       npm run -s bench -- load LOAD [options]

Scenarios:
${list(SCENARIOS)}

Loads:
${list(LOADS)}

Options:
  --json          one JSON object on stdout instead of a table
  --n N           how many (rounds, sandboxes, callers, images, MiB: see the scenario)
  --pool N        containers kept warm
  --url URL       measure this server (key in MILLIBOX_API_KEY) instead of starting one
  --runtime R     auto (default), oci or docker, of the server that is started
  --image REF     image of the sandboxes
  --rate N        load: calls per second of an open loop
  --duration S    load: seconds of a phase
  --generators N  load: processes that make it
  --nodes N       cluster: simulated nodes
  --save          keep the result under bench/results/, with a page and plots where there are any

Examples:
  npm run -s bench -- exec --json
  npm run -s bench -- burst --n 500 --pool 50
  npm run -s bench -- load rollouts --n 512 --save
  npm run -s bench -- load creates --rate 45 --duration 60 --url http://127.0.0.1:8700
`;

/** Its message says everything that the user of the bench needs: no stack is shown. */
class PlainError extends Error {
  readonly exitCode: number;

  constructor(message: string, exitCode = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

const WRONG_USE = 2;

function parseCommandLine() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        json: { type: 'boolean', default: false },
        save: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
        n: { type: 'string' },
        pool: { type: 'string' },
        url: { type: 'string' },
        runtime: { type: 'string' },
        image: { type: 'string' },
        rate: { type: 'string' },
        duration: { type: 'string' },
        generators: { type: 'string' },
        nodes: { type: 'string' },
      },
    });
  } catch (error) {
    throw new PlainError(error instanceof Error ? error.message : String(error), WRONG_USE);
  }
}

async function main(): Promise<number> {
  const { values, positionals } = parseCommandLine();
  const [name, subject, ...rest] = positionals;
  const scenario = SCENARIOS.find((each) => each.name === name);
  const subjects = scenario !== undefined && 'run' in scenario ? scenario.subjects : undefined;
  const known = subjects === undefined ? subject === undefined : subjects.some((each) => each.name === subject);
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  if (scenario === undefined || !known || rest.length > 0) {
    process.stderr.write(`bench: ${wrongWords(positionals, subjects)}\n\n${USAGE}`);
    return WRONG_USE;
  }
  const live = new LiveLine(process.stderr);
  const seconds = amount(values.duration, '--duration');
  const options: Options = {
    n: count(values.n, '--n'),
    pool: count(values.pool, '--pool'),
    rate: amount(values.rate, '--rate'),
    durationMs: seconds === undefined ? undefined : seconds * 1000,
    generators: count(values.generators, '--generators'),
    nodes: count(values.nodes, '--nodes'),
    runtime: values.runtime,
    subject,
    run: new BenchRun(),
    progress: (line) => live.line(line),
    status: (text) => live.status(text),
    interrupted: interruption(),
    binaries: {
      true: join(RELEASE, 'millibox-true'),
      spawnLoop: join(RELEASE, 'spawn-loop'),
      flood: join(RELEASE, 'flood'),
    },
  };

  const { outcome, leftovers } = await withinRun(options.run, () =>
    'standalone' in scenario
      ? Promise.race([scenario.standalone(options), options.interrupted])
      : measureServer(scenario, options, values),
  );
  live.clear();

  const report: Report = {
    scenario: scenario.name,
    host: describeHost(),
    setup: outcome.setup,
    rows: outcome.rows,
    ratios: outcome.ratios,
    errors: outcome.errors,
    leftovers,
    ...(outcome.detail === undefined ? {} : { detail: outcome.detail }),
  };
  if (values.save) save(report, outcome);
  process.stdout.write(values.json ? `${JSON.stringify(report)}\n` : toTable(report));
  return Object.keys(outcome.errors).length === 0 && leftovers.length === 0 ? 0 : 1;
}

/** What is wrong with the words of a command line that names no scenario, or one with a load that it does not have. */
function wrongWords([name, subject]: string[], subjects: readonly { name: string }[] | undefined): string {
  if (name === undefined) return 'which scenario?';
  if (!SCENARIOS.some((scenario) => scenario.name === name)) return `there is no scenario ${name}`;
  if (subjects === undefined) return `${name} takes options only`;
  const known = subjects.map((each) => each.name).join(', ');
  return subject === undefined ? `${name} what? One of ${known}` : `${name} takes one of ${known}, and options`;
}

/** Ends the run, whatever its result. What a failed one leaves is reported beside its error. */
async function withinRun(
  run: BenchRun,
  measure: () => Promise<Outcome>,
): Promise<{ outcome: Outcome; leftovers: string[] }> {
  let outcome: Outcome;
  try {
    outcome = await measure();
  } catch (error) {
    for (const each of await run.end(true)) process.stderr.write(`bench: left behind: ${each}\n`);
    throw error;
  }
  return { outcome, leftovers: await run.end(false) };
}

async function measureServer(
  scenario: Scenario,
  options: Options,
  { url, image }: { url?: string | undefined; image?: string | undefined },
): Promise<Outcome> {
  if (url !== undefined && scenario.prepare !== undefined) {
    throw new PlainError(`${scenario.name} prepares the server that it measures: leave --url out`, WRONG_USE);
  }
  await using prepared = await scenario.prepare?.(options);
  await using target = await startTarget({
    run: options.run,
    root: ROOT,
    pool: options.pool ?? scenario.pool(options),
    url,
    runtime: options.runtime,
    image,
    progress: options.progress,
    env: prepared?.env ?? {},
  });
  // An interrupt leaves nothing behind either: what was started is stopped, and then this program ends.
  const outcome = await Promise.race([scenario.run(target, options, prepared), options.interrupted]);
  return { ...outcome, setup: { runtime: target.runtime, image: target.image, ...outcome.setup } };
}

function count(text: string | undefined, name: string): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new PlainError(`${name} takes a whole number`, WRONG_USE);
  return value;
}

function amount(text: string | undefined, name: string): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!(value > 0 && Number.isFinite(value))) throw new PlainError(`${name} takes a number above 0`, WRONG_USE);
  return value;
}

function interruption(): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>();
  // Code with something to stop awaits it; nobody has to.
  promise.catch(() => undefined);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => reject(new PlainError(`stopped by ${signal}`)));
  }
  return promise;
}

function save(report: Report, { name = report.scenario, plots }: Outcome): void {
  const directory = join(ROOT, 'bench/results');
  mkdirSync(directory, { recursive: true });
  const write = (file: string, text: string): void => writeFileSync(join(directory, file), text);
  write(`${name}.json`, `${JSON.stringify(report, null, 2)}\n`);
  if (plots === undefined) return;
  const pictures = Object.entries(plots).map(([of, svg]) => ({ file: `${name}-${of}.svg`, svg }));
  for (const { file, svg } of pictures) write(file, svg);
  write(
    `${name}.md`,
    toMarkdown(
      report,
      pictures.map(({ file }) => file),
    ),
  );
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    const plain = error instanceof PlainError;
    const text = error instanceof Error && !plain ? (error.stack ?? error.message) : String((error as Error).message);
    process.stderr.write(`bench: ${text}\n`);
    process.exit(plain ? error.exitCode : 1);
  },
);
