/** The name of a failure in a report: the service's own code, or what was wrong with an answer. */
import { MilliboxError } from '../../../src/sdk/index.ts';

/** An answer arrived, and is not the right one. Any of these is a bug of the service, whatever the load. */
export const WRONG = {
  wrong_exit: 'another exit code than the command has',
  wrong_output: 'bytes that the command did not write',
  lost_output: 'fewer bytes than the command wrote',
  lost_event: 'a command without an exit',
  duplicate_event: 'an event after the exit',
  ran_twice: 'a command that ran more than once',
  never_ran: 'a command that answered and did not run',
} as const;
export type WrongCode = keyof typeof WRONG;

export class WrongAnswer extends Error {
  override readonly name = 'WrongAnswer';
  readonly code: WrongCode;

  constructor(code: WrongCode, detail: string) {
    super(`${WRONG[code]}: ${detail}`);
    this.code = code;
  }
}

/** Other errors keep their name: they are bugs of the generator or worse. */
export function failureCode(error: unknown): string {
  if (error instanceof WrongAnswer || error instanceof MilliboxError) return error.code;
  return `unexpected_${error instanceof Error ? error.name : typeof error}`;
}
