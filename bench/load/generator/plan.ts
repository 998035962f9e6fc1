/** What a generator process is told to do, and what it says. Everything here is JSON. */
import type { HistogramJson } from '../../report/histogram.ts';
import type { RecordingJson } from './recording.ts';

interface Common {
  server: { url: string; apiKey: string };
  image: string;
  /** Value of the label `load` of every sandbox that is made. */
  label: string;
  seed: number;
}

/** A closed loop: each caller has one command under way, all the time. */
export interface ExecClosedPlan extends Common {
  workload: 'exec-closed';
  callers: number;
  durationMs: number;
}

/** An open loop: commands begin when they are meant to, whatever became of those before. */
export interface ExecOpenPlan extends Common {
  workload: 'exec-open';
  sandboxes: number;
  perSec: number;
  durationMs: number;
}

/** So many creates at the same moment, each with its first command. */
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

/** Whole rollouts, all begun at the same moment. */
export interface RolloutsPlan extends Common {
  workload: 'rollouts';
  count: number;
  /** Commands of each. */
  commands: number;
  /** Median of the model's first turn, and of each later one. */
  firstTurnMs: number;
  turnMs: number;
  /** ahead: the sandbox is asked for before the first turn. in-line: when its first command is there. */
  create: 'ahead' | 'in-line';
}

export type Plan = ExecClosedPlan | ExecOpenPlan | BurstPlan | CreatesPlan | RolloutsPlan;

/** What the parent says. `go` names the moment at which all generators begin, on the clock of `Date.now()`. */
export type Order = { type: 'prepare'; plan: Plan } | { type: 'go'; atMs: number } | { type: 'end' };

export interface Usage {
  cpuMs: number;
  elapsedMs: number;
  /** Share of the time in which its event loop was busy: near 1, it is the generator that is measured. */
  busy: number;
  /** Longest time for which its event loop stood still. */
  maxStallMs: number;
}

/** How far a generator is: totals, and the times of the main series since it last said so. */
export interface Progress {
  done: number;
  failed: number;
  underWay: number;
  recent: HistogramJson;
}

export type Word =
  | { type: 'ready' }
  | { type: 'progress'; progress: Progress }
  | { type: 'done'; recording: RecordingJson; usage: Usage }
  | { type: 'failed'; message: string };
