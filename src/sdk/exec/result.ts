/** The result and the events of a command. */
import type { ExecExit } from '../../protocol/exec.ts';

/** `string` with encoding utf8, `Buffer` with encoding bytes. */
export type Output = string | Buffer;
export type ChannelName = 'stdout' | 'stderr';

/** A non-zero exit is a result, not an error. */
export interface ExecResult<T extends Output = string> {
  execId: string;
  /** 128 + n for a death by signal n. */
  exitCode: number;
  signal: string | null;
  /** Empty when the output was iterated. */
  stdout: T;
  stderr: T;
  timedOut: boolean;
  oomKilled: boolean;
  /** Whether `stdout` and `stderr` hold less than the command wrote. */
  truncated: { stdout: boolean; stderr: boolean };
  /** Bytes that the command wrote in all. */
  stdoutBytes: number;
  stderrBytes: number;
  durationMs: number;
  /** How long it waited for the sandbox. */
  queueMs: number;
}

export type ExecOutputEvent<T extends Output = string> =
  | { type: 'stdout'; data: T }
  | { type: 'stderr'; data: T }
  /** Output that was discarded before it could be read, after a long cut: byte offsets, the second exclusive. */
  | { type: 'output_lost'; channel: ChannelName; from: number; to: number }
  | ({ type: 'exit' } & ExecExit);

/** What the stream of an exec ends with. */
export interface Ended {
  exit: ExecExit;
  queueMs: number;
}
