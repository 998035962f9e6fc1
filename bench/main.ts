/** `npm run -s bench -- SCENARIO [--json]`: JSON or a table on stdout, progress on stderr. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { boxinitPath } from '../src/cli/up/parts.ts';
import { startTarget } from './load/target.ts';
import { describeHost, toTable, type Report } from './report/report.ts';
import { burst } from './scenarios/burst.ts';
import { create } from './scenarios/create.ts';
import { density } from './scenarios/density.ts';
import { exec } from './scenarios/exec.ts';
import { images } from './scenarios/images.ts';
import { prime } from './scenarios/prime.ts';
import type { Options, Scenario } from './scenarios/scenario.ts';
import { stream } from './scenarios/stream.ts';

const SCENARIOS: readonly Scenario[] = [exec, create, burst, density, images, stream, prime];
const ROOT = join(import.meta.dirname, '..');
const RELEASE = dirname(boxinitPath());

const USAGE = `Usage: npm run -s bench -- SCENARIO [options]

Scenarios:
${SCENARIOS.map(({ name, describe }) => `  ${name.padEnd(9)} ${describe}`).join('\n')}

Options:
  --json         one JSON object on stdout instead of a table
  --n N          how many (rounds, sandboxes, images, MiB: see the scenario)
  --pool N       containers kept warm
  --url URL      measure this server (key in MILLIBOX_API_KEY) instead of starting one
  --runtime R    auto (default), oci or docker, of the server that is started
  --image REF    image of the sandboxes
  --save         keep the result under bench/results/

Examples:
  npm run -s bench -- exec --json
  npm run -s bench -- burst --n 500 --pool 50
`;

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
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
    },
  });
  const scenario = SCENARIOS.find(({ name }) => name === positionals[0]);
  if (values.help || scenario === undefined || positionals.length !== 1) {
    (values.help ? process.stdout : process.stderr).write(USAGE);
    return values.help ? 0 : 2;
  }
  const options: Options = {
    n: count(values.n, '--n'),
    pool: count(values.pool, '--pool'),
    progress: (line) => process.stderr.write(`${line}\n`),
    binaries: {
      true: join(RELEASE, 'millibox-true'),
      spawnLoop: join(RELEASE, 'spawn-loop'),
      flood: join(RELEASE, 'flood'),
    },
  };

  if (values.url !== undefined && scenario.prepare !== undefined) {
    throw new Error(`${scenario.name} prepares the server that it measures: leave --url out`);
  }
  await using prepared = await scenario.prepare?.(options);
  await using target = await startTarget({
    root: ROOT,
    pool: options.pool ?? scenario.pool(options),
    url: values.url,
    runtime: values.runtime,
    image: values.image,
    progress: options.progress,
    env: prepared?.env ?? {},
  });
  // An interrupt leaves nothing behind either: what was started is stopped, and then this program ends.
  const interrupted = interruption();
  const outcome = await Promise.race([scenario.run(target, options, prepared), interrupted]);

  const report: Report = {
    scenario: scenario.name,
    host: describeHost(),
    setup: { runtime: target.runtime, image: target.image, ...outcome.setup },
    rows: outcome.rows,
    ratios: outcome.ratios,
    errors: outcome.errors,
  };
  if (values.save) save(report);
  process.stdout.write(values.json ? `${JSON.stringify(report)}\n` : toTable(report));
  return 0;
}

function count(text: string | undefined, name: string): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new Error(`${name} takes a whole number`);
  return value;
}

function interruption(): Promise<never> {
  return new Promise((_, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.once(signal, () => reject(new Error(`stopped by ${signal}`)));
    }
  });
}

function save(report: Report): void {
  const directory = join(ROOT, 'bench/results');
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, `${report.scenario}.json`), `${JSON.stringify(report, null, 2)}\n`);
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`bench: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    process.exit(1);
  },
);
