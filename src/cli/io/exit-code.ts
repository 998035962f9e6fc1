/** The exit codes of the CLI. */
import { constants } from 'node:os';

/** A command that reached its timeout, as with timeout(1). */
const TIMED_OUT_EXIT = 124;

export const exitCodeOf = (exit: { exitCode: number; timedOut: boolean }): number =>
  exit.timedOut ? TIMED_OUT_EXIT : exit.exitCode;

/** How a shell reports death by this signal. */
export const exitCodeOfSignal = (signal: NodeJS.Signals): number => 128 + constants.signals[signal];
