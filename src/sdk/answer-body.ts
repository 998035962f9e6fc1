/** Bodies of HTTP answers, read with a bound so that none can exhaust the client's memory. */
import type { Dispatcher } from 'undici';
import { ByteAccumulator } from '../lib/byte-accumulator.ts';
import { ServiceError } from '../protocol/errors.ts';
import { MAX_MAX_OUTPUT_BYTES } from '../protocol/limits.ts';

/** The largest answer is a result with the maximum output, in base64. */
export const MAX_ANSWER_BYTES = 2 * Math.ceil((MAX_MAX_OUTPUT_BYTES * 4) / 3) + 1024 * 1024;
/** A longer body is not an error of this service. */
const MAX_ERROR_BYTES = 1024 * 1024;

/** @throws ServiceError `protocol_error` for a larger body, the rest of which is not read */
export async function readBody({ body }: Dispatcher.ResponseData, maxBytes: number): Promise<Buffer> {
  const gathered = new ByteAccumulator();
  let bytes = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw new ServiceError('protocol_error', `the answer is larger than ${maxBytes} bytes`);
    gathered.push(chunk);
  }
  return Buffer.concat(gathered.take(), bytes);
}

/** @throws ServiceError `protocol_error` for invalid JSON */
export function parsed(text: string): unknown {
  if (text === '') return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new ServiceError('protocol_error', 'the answer is not JSON: is this the address of a millibox gateway?');
  }
}

/** The body of a refusal, if it can be read; otherwise the status says enough. */
export async function readError(response: Dispatcher.ResponseData): Promise<unknown> {
  try {
    return parsed((await readBody(response, MAX_ERROR_BYTES)).toString());
  } catch (error) {
    if (error instanceof ServiceError) return undefined;
    throw error;
  }
}
