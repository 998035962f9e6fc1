import { ServiceError } from '../../src/protocol/errors.ts';

/** The code of the error with which the work fails. */
export async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'no error';
  } catch (error) {
    return ServiceError.from(error).code;
  }
}
