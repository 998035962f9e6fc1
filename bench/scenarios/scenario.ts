/** The inputs and results of every scenario. */
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
  /** Image of the sandboxes; the Docker baselines run it too. */
  image: string;
  /** Process ids of the server's parts here, if the bench started it. */
  pids: { gateway: number[]; agent: number[] } | undefined;
}

export interface Options {
  /** How many; each scenario has its own default. */
  n: number | undefined;
  /** Containers kept warm. */
  pool: number | undefined;
  /** Creates or commands per second, if they arrive at a rate. */
  rate?: number | undefined;
  durationMs?: number | undefined;
  /** The second argument: which of several loads. */
  subject?: string | undefined;
  /** Simulated nodes. */
  nodes?: number | undefined;
  /** Generator processes. */
  generators?: number | undefined;
  /** Runtime of a server that the scenario starts itself. */
  runtime?: string | undefined;
  /** Everything created on the machine is below its directory. */
  run: BenchRun;
  progress: (line: string) => void;
  /** Shows progress: one changing line on a terminal, an occasional one otherwise. */
  status: (text: string) => void;
  /** Rejects when the run is to end: what was started is then stopped. */
  interrupted: Promise<never>;
  binaries: { true: string; spawnLoop: string; flood: string };
}

export interface Outcome {
  rows: Row[];
  ratios: Record<string, number | null>;
  setup: Record<string, string | number | boolean>;
  errors: Record<string, number>;
  /** Results that do not fit into rows, for readers of the JSON. */
  detail?: Record<string, unknown>;
  /** Name of the saved files; default: the scenario's. */
  name?: string;
  /** Saved beside the JSON: plots, by the suffix of their file name. */
  plots?: Record<string, string>;
}

/** The evaluation of a run's samples. */
export type Figures = Pick<Outcome, 'rows' | 'ratios' | 'errors'>;

/** Something that must exist before the server starts. */
interface Prepared extends AsyncDisposable {
  env: Record<string, string>;
}

export interface Scenario {
  name: string;
  describe: string;
  /** If it is one of several: the allowed second arguments. */
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

/** The failures of all rows, summed. */
export function failures(...rows: (Samples | undefined)[]): Record<string, number> {
  const all: Record<string, number> = {};
  for (const row of rows) {
    for (const [text, times] of row?.errors ?? []) all[`${row?.name}: ${text}`] = times;
  }
  return all;
}
