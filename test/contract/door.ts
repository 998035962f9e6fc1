/**
 * What the exec contract requires of a door to the service (SDK, CLI, REST, WebSocket). Each door is an adapter of a
 * few lines, and contains none of the rules.
 */
import type { TestStack } from '../helpers/stack.ts';

/** A string for `sh -c`, a list to run without a shell. */
export type Command = string | readonly string[];

export interface RunOptions {
  cwd?: string;
  env?: Record<string, string>;
  user?: string;
  timeoutMs?: number;
  stdin?: string | Buffer;
  /** Needs `cap`. */
  maxOutputBytes?: number;
  /** Identifies this run, so that repeating the request does not run it again. Needs `key`. */
  key?: string;
}

/** How a command ended, as far as every door can report it. */
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

/** The same for binary output. */
export interface BytesOutcome {
  exitCode: number;
  stdout: Buffer;
  stderr: Buffer;
}

/** A command that runs while the test continues, and can be signalled. */
export interface Running {
  /** Resolves once its stdout contains the text. */
  saw(text: string): Promise<void>;
  signal(name: 'USR1' | 'TERM'): Promise<void>;
  /** Ends it and everything it started. */
  kill(): Promise<void>;
  ended(): Promise<Pick<Outcome, 'exitCode' | 'signal' | 'stdout'>>;
}

export interface Piece {
  channel: 'stdout' | 'stderr';
  bytes: Buffer;
}

/** A command whose output is seen live, and whose input may be sent in pieces. */
export interface Live {
  readonly id: string;
  /** In order of arrival. */
  readonly pieces: readonly Piece[];
  /** Output that the service could not keep. */
  readonly lost: readonly { channel: string; from: number; to: number }[];
  saw(text: string): Promise<void>;
  write(data: string | Buffer): Promise<void>;
  closeStdin(): void;
  /** Disconnects without notice. Needs `attach`. */
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

/** Background commands. */
export interface JobDoor {
  start(sandbox: string, command: Command): Promise<string>;
  state(sandbox: string, id: string): Promise<JobState>;
  /** The end of the log if `tail` is given. */
  output(sandbox: string, id: string, channel: 'stdout' | 'stderr', tail?: number): Promise<Buffer>;
  kill(sandbox: string, id: string): Promise<void>;
}

/** Parts of the contract that a door may be unable to express. */
export type Capability =
  /** Live output; input in pieces. */
  | 'live'
  /** A cap on a result's output. */
  | 'cap'
  /** An idempotency key for a run. */
  | 'key'
  /** A different request under the same key is refused even after the run has ended. */
  | 'conflict'
  /** Reattaching to a command by its id. */
  | 'attach'
  | 'jobs'
  /** A command of more than 128 KiB. */
  | 'longText'
  /** A client that disconnects takes its command with it. */
  | 'abandon';

export interface Door extends AsyncDisposable {
  readonly name: string;
  /** The reason for each. */
  readonly lacks: Partial<Record<Capability, string>>;
  /** How many concurrent calls count as load here. */
  readonly hurry: number;
  /** @throws an error with a `code` from the one table of errors. */
  run(sandbox: string, command: Command, options?: RunOptions): Promise<Outcome>;
  /** @throws as `run` */
  runBytes(sandbox: string, command: Command, options?: RunOptions): Promise<BytesOutcome>;
  start(sandbox: string, command: Command): Promise<Running>;
  live?(sandbox: string, command: Command, options?: LiveOptions): Promise<Live>;
  attach?(sandbox: string, id: string): Promise<Live>;
  /** Starts a command and disconnects as soon as it is running. */
  abandon?(sandbox: string, command: string): Promise<void>;
  jobs?: JobDoor;
}

export type MakeDoor = (stack: TestStack) => Door;

/** A failure as reported by a door. */
export class DoorError extends Error {
  override readonly name = 'DoorError';
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}
