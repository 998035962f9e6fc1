/** The file in a multipart body as a stream, so that it can be forwarded to the sandbox while it arrives. */
import type { IncomingMessage } from 'node:http';
import { PassThrough, pipeline, type Readable } from 'node:stream';
import { Busboy, type BusboyInstance } from '@fastify/busboy';
import { ServiceError } from '../../../../protocol/errors.ts';

const MAX_HEADER_PAIRS = 20;

/**
 * Resolves with the first file of the body as soon as it begins. The stream fails if the body breaks off.
 * @throws ServiceError `invalid_request` when there is no file.
 */
export function firstFile(request: IncomingMessage): Promise<Readable> {
  const found = Promise.withResolvers<Readable>();
  const refuse = (cause?: unknown): ServiceError =>
    new ServiceError('invalid_request', 'the body is not multipart/form-data with one complete file', { cause });
  let parser: BusboyInstance;
  try {
    parser = new Busboy({
      headers: { ...request.headers, 'content-type': request.headers['content-type'] ?? '' },
      limits: { files: 1, fields: 0, headerPairs: MAX_HEADER_PAIRS },
      isPartAFile: () => true,
    });
  } catch (error) {
    return Promise.reject(refuse(error));
  }
  // The parser ends a truncated file as if it were complete; only the end of the parser itself means that all of it
  // arrived.
  const whole = new PassThrough();
  let file: Readable | null = null;
  parser.on('file', (_field, stream) => {
    file = stream;
    stream.on('error', (error) => whole.destroy(refuse(error)));
    stream.pipe(whole, { end: false });
    // The rest of an unwanted file is read and dropped, so that the client reads the answer and the connection stays
    // usable.
    whole.once('close', () => stream.resume());
    found.resolve(whole);
  });
  whole.on('error', () => undefined);
  pipeline(request, parser, (error) => {
    if (error) {
      whole.destroy(refuse(error));
      found.reject(refuse(error));
    } else if (file === null) found.reject(refuse());
    else if (file.readableEnded) whole.end();
    else file.once('end', () => whole.end());
  });
  return found.promise;
}
