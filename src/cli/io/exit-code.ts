/** With what the CLI itself ends, on behalf of a command or of its own. */
import { constants } from 'node:os';

/** A command of a shell script that ran into its limit ends with this, as `timeout` has it. */
const TIMED_OUT_EXIT = 124;

export const exitCodeOf = (exit: { exitCode: number; timedOut: boolean }): number =>
  exit.timedOut ? TIMED_OUT_EXIT : exit.exitCode;

/** As a shell reports a death by this signal. */
export const exitCodeOfSignal = (signal: NodeJS.Signals): number => 128 + constants.signals[signal];
