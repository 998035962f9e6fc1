/** What the exec contract asks of a door to the service. Each door is an adapter of a few lines; the rules are not. */
import type { TestStack } from '../helpers/stack.ts';

/** A string for `sh -c`, a list for no shell. */
export type Command = string | readonly string[];

export interface RunOptions {
  cwd?: string;
  env?: Record<string, string>;
  user?: string;
  timeoutMs?: number;
  stdin?: string | Buffer;
  /** Needs `cap`. */
  maxOutputBytes?: number;
  /** Names this run, so that asking again does not run it again. Needs `key`. */
  key?: string;
}

/** How a command ended, as every door can tell it. */
export interface Outcome {
  exitCode: number;
  signal: string | null;
  stdout: string;
  stderr: string;
  timedOut: boolean;
  oomKilled: boolean;
  truncated: { stdout: boolean; stderr: boolean };
  stdoutBytes: number;
  stderrBytes: number;
  durationMs: number;
  queueMs: number;
}

/** The same for output that is no text. */
export interface BytesOutcome {
  exitCode: number;
  stdout: Buffer;
  stderr: Buffer;
}

/** A command that runs while the test goes on, and can be signalled. */
export interface Running {
  /** Resolves once its stdout holds the text. */
  saw(text: string): Promise<void>;
  signal(name: 'USR1' | 'TERM'): Promise<void>;
  /** Ends it and all that it started. */
  kill(): Promise<void>;
  ended(): Promise<Pick<Outcome, 'exitCode' | 'signal' | 'stdout'>>;
}

export interface Piece {
  channel: 'stdout' | 'stderr';
  bytes: Buffer;
}

/** A command whose output is seen as it comes, and whose input may come in pieces. */
export interface Live {
  readonly id: string;
  /** As they came. */
  readonly pieces: readonly Piece[];
  /** Output that the service could not keep. */
  readonly lost: readonly { channel: string; from: number; to: number }[];
  saw(text: string): Promise<void>;
  write(data: string | Buffer): Promise<void>;
  closeStdin(): void;
  /** Goes away without a word. Needs `attach`. */
  leave(): Promise<void>;
  readonly ended: Promise<{ exitCode: number }>;
}

export interface LiveOptions extends Pick<RunOptions, 'timeoutMs'> {
  stdin?: boolean;
  /** Needs `attach`. */
  detachedMs?: number;
  ringBytes?: number;
}

export interface JobState {
  state: 'running' | 'exited';
  exitCode: number | null;
}

/** Commands in the background. */
export interface JobDoor {
  start(sandbox: string, command: Command): Promise<string>;
  state(sandbox: string, id: string): Promise<JobState>;
  /** From the end when `tail` is given. */
  output(sandbox: string, id: string, channel: 'stdout' | 'stderr', tail?: number): Promise<Buffer>;
  kill(sandbox: string, id: string): Promise<void>;
}

/** What a door may be unable to say, each a part of the contract that the others keep. */
export type Capability =
  /** Output as it comes; input in pieces. */
  | 'live'
  /** A cap on what a result keeps. */
  | 'cap'
  /** A name for a run. */
  | 'key'
  /** Another request under the same name is refused also after the end of the run. */
  | 'conflict'
  /** Coming back to a command by its id. */
  | 'attach'
  | 'jobs'
  /** A command of more than 128 KiB. */
  | 'longText'
  /** A client that goes away takes its command with it. */
  | 'abandon';

export interface Door extends AsyncDisposable {
  readonly name: string;
  /** Why not. */
  readonly lacks: Partial<Record<Capability, string>>;
  /** How many calls at once are a hurry here. */
  readonly hurry: number;
  /** @throws what has a `code` of the one table of errors. */
  run(sandbox: string, command: Command, options?: RunOptions): Promise<Outcome>;
  /** @throws as `run` */
  runBytes(sandbox: string, command: Command, options?: RunOptions): Promise<BytesOutcome>;
  start(sandbox: string, command: Command): Promise<Running>;
  live?(sandbox: string, command: Command, options?: LiveOptions): Promise<Live>;
  attach?(sandbox: string, id: string): Promise<Live>;
  /** Starts a command and goes away as soon as it runs. */
  abandon?(sandbox: string, command: string): Promise<void>;
  jobs?: JobDoor;
}

export type MakeDoor = (stack: TestStack) => Door;

/** A failure as a door tells it. */
export class DoorError extends Error {
  override readonly name = 'DoorError';
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}
