/** Bodies of answers over HTTP, none of which fills the memory of the client. */
import type { Dispatcher } from 'undici';
import { GatheredBytes } from '../lib/gathered-bytes.ts';
import { ServiceError } from '../protocol/errors.ts';
import { MAX_MAX_OUTPUT_BYTES } from '../protocol/limits.ts';

/** The largest answer is a result with all output that may be asked for, in base64. */
export const MAX_ANSWER_BYTES = 2 * Math.ceil((MAX_MAX_OUTPUT_BYTES * 4) / 3) + 1024 * 1024;
/** More is no error of this service. */
const MAX_ERROR_BYTES = 1024 * 1024;

/** @throws ServiceError `protocol_error` for more than that, which is not read */
export async function readWhole({ body }: Dispatcher.ResponseData, maxBytes: number): Promise<Buffer> {
  const gathered = new GatheredBytes();
  let bytes = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw new ServiceError('protocol_error', `the answer is larger than ${maxBytes} bytes`);
    gathered.push(chunk);
  }
  return Buffer.concat(gathered.take(), bytes);
}

/** @throws ServiceError `protocol_error` for what is no JSON */
export function parsed(text: string): unknown {
  if (text === '') return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new ServiceError('protocol_error', 'the answer is not JSON: is this the address of a millibox gateway?');
  }
}

/** What came with a refusal, if it can be read: its status tells enough otherwise. */
export async function readError(response: Dispatcher.ResponseData): Promise<unknown> {
  try {
    return parsed((await readWhole(response, MAX_ERROR_BYTES)).toString());
  } catch (error) {
    if (error instanceof ServiceError) return undefined;
    throw error;
  }
}
