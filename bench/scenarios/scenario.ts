/** What every scenario gets and gives. */
import type { Millibox } from '../../src/sdk/index.ts';
import type { Operator } from '../../src/cli/io/operator.ts';
import type { Row, Samples } from '../report/statistics.ts';

export interface Target {
  url: string;
  apiKey: string;
  client: Millibox;
  operator: Operator;
  runtime: string;
  /** Image of the sandboxes; also the one that the Docker baselines run. */
  image: string;
  /** Process ids of what runs here, when the bench started it. */
  pids: { gateway: number[]; agent: number[] } | undefined;
}

export interface Options {
  /** How many; each scenario has its own default. */
  n: number | undefined;
  /** Containers kept warm. */
  pool: number | undefined;
  progress: (line: string) => void;
  binaries: { true: string; spawnLoop: string; flood: string };
}

export interface Outcome {
  rows: Row[];
  ratios: Record<string, number | null>;
  setup: Record<string, string | number | boolean>;
  errors: Record<string, number>;
}

/** Something that has to be there before the server starts. */
export interface Prepared extends AsyncDisposable {
  env: Record<string, string>;
}

export interface Scenario {
  name: string;
  describe: string;
  /** Warm containers that the scenario wants for `n`. */
  pool: (options: Options) => number;
  prepare?: (options: Options) => Promise<Prepared>;
  run(target: Target, options: Options, prepared: Prepared | undefined): Promise<Outcome>;
}

/** The failures of all rows, added up. */
export function failures(...rows: (Samples | undefined)[]): Record<string, number> {
  const all: Record<string, number> = {};
  for (const row of rows) {
    for (const [text, times] of row?.errors ?? []) all[`${row?.name}: ${text}`] = times;
  }
  return all;
}
