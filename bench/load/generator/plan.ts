/** The messages between a generator process and its parent. Everything here is JSON. */
import type { HistogramJson } from '../../report/histogram.ts';
import type { RecordingJson } from './recording.ts';

interface Common {
  server: { url: string; apiKey: string };
  image: string;
  /** Value of the label `load` of every sandbox that is created. */
  label: string;
  seed: number;
}

/** A closed loop: each caller always has one command in flight. */
export interface ExecClosedPlan extends Common {
  workload: 'exec-closed';
  callers: number;
  durationMs: number;
}

/** An open loop: commands begin at their intended times, whatever happened to earlier ones. */
export interface ExecOpenPlan extends Common {
  workload: 'exec-open';
  sandboxes: number;
  perSec: number;
  durationMs: number;
}

/** This many creates at the same moment, each with its first command. */
export interface BurstPlan extends Common {
  workload: 'create-burst';
  count: number;
}

/** An open loop of creates, each with its first command and its deletion. */
export interface CreatesPlan extends Common {
  workload: 'creates';
  perSec: number;
  durationMs: number;
}

/** Complete rollouts, all started at the same moment. */
export interface RolloutsPlan extends Common {
  workload: 'rollouts';
  count: number;
  /** Commands per rollout. */
  commands: number;
  /** Median of the model's first turn, and of each later one. */
  firstTurnMs: number;
  turnMs: number;
  /** ahead: the sandbox is requested before the first turn. in-line: when its first command is ready. */
  create: 'ahead' | 'in-line';
}

export type Plan = ExecClosedPlan | ExecOpenPlan | BurstPlan | CreatesPlan | RolloutsPlan;

/** Messages from the parent. `go` gives the common start of all generators, on the clock of `Date.now()`. */
export type Order = { type: 'prepare'; plan: Plan } | { type: 'go'; atMs: number } | { type: 'end' };

export interface Usage {
  cpuMs: number;
  elapsedMs: number;
  /** Share of the time in which its event loop was busy: near 1, the generator itself is what is measured. */
  busy: number;
  /** The longest stall of its event loop. */
  maxStallMs: number;
}

/** A generator's progress: totals, and the times of the main series since the last report. */
export interface Progress {
  done: number;
  failed: number;
  underWay: number;
  recent: HistogramJson;
}

export type Message =
  | { type: 'ready' }
  | { type: 'progress'; progress: Progress }
  | { type: 'done'; recording: RecordingJson; usage: Usage }
  | { type: 'failed'; message: string };
