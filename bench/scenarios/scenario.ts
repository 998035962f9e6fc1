/** What every scenario gets and gives. */
import type { Millibox } from '../../src/sdk/index.ts';
import type { Operator } from '../../src/cli/io/operator.ts';
import type { BenchRun } from '../load/run.ts';
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
  /** Creates or commands per second, where they come at a rate. */
  rate?: number | undefined;
  durationMs?: number | undefined;
  /** The second word: which of several loads. */
  subject?: string | undefined;
  /** Simulated nodes. */
  nodes?: number | undefined;
  /** Generator processes. */
  generators?: number | undefined;
  /** Runtime of a server that the scenario starts itself. */
  runtime?: string | undefined;
  /** Whatever is made on the machine goes below its directory. */
  run: BenchRun;
  progress: (line: string) => void;
  /** How far it is, over and over: one line of a terminal, now and then one elsewhere. */
  status: (text: string) => void;
  /** Rejects when somebody wants the run to end: what was started is then stopped. */
  interrupted: Promise<never>;
  binaries: { true: string; spawnLoop: string; flood: string };
}

export interface Outcome {
  rows: Row[];
  ratios: Record<string, number | null>;
  setup: Record<string, string | number | boolean>;
  errors: Record<string, number>;
  /** What does not fit into rows, for those who read the JSON. */
  detail?: Record<string, unknown>;
  /** Name of the saved files; default: the scenario's. */
  name?: string;
  /** Saved beside the JSON: plots, by their names' ends. */
  plots?: Record<string, string>;
}

/** What the samples of a run come to. */
export type Figures = Pick<Outcome, 'rows' | 'ratios' | 'errors'>;

/** Something that has to be there before the server starts. */
interface Prepared extends AsyncDisposable {
  env: Record<string, string>;
}

export interface Scenario {
  name: string;
  describe: string;
  /** Where it is one of several: what the second word may be. */
  subjects?: readonly { name: string; describe: string }[];
  /** Warm containers that the scenario wants for `n`. */
  pool: (options: Options) => number;
  prepare?: (options: Options) => Promise<Prepared>;
  run(target: Target, options: Options, prepared: Prepared | undefined): Promise<Outcome>;
}

/** A scenario that needs no server, or starts its own. */
export interface Standalone {
  name: string;
  describe: string;
  standalone(options: Options): Promise<Outcome>;
}

/** The failures of all rows, added up. */
export function failures(...rows: (Samples | undefined)[]): Record<string, number> {
  const all: Record<string, number> = {};
  for (const row of rows) {
    for (const [text, times] of row?.errors ?? []) all[`${row?.name}: ${text}`] = times;
  }
  return all;
}
