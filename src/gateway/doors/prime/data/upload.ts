/** The file in a multipart body, as a stream: it goes on to the sandbox while it comes, whatever its size. */
import type { IncomingMessage } from 'node:http';
import { PassThrough, pipeline, type Readable } from 'node:stream';
import { Busboy, type BusboyInstance } from '@fastify/busboy';
import { ServiceError } from '../../../../protocol/errors.ts';

const MAX_HEADER_PAIRS = 20;

/**
 * Resolves with the first file of the body as soon as it begins. A body that breaks off breaks the stream.
 * @throws ServiceError `invalid_request` when there is none.
 */
export function firstFile(request: IncomingMessage): Promise<Readable> {
  const found = Promise.withResolvers<Readable>();
  const refuse = (cause?: unknown): ServiceError =>
    new ServiceError('invalid_request', 'The body is no multipart/form-data with one whole file.', { cause });
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
  // The parser ends a file whose part was cut off as if it were whole: only its own end says that all of it came.
  const whole = new PassThrough();
  let file: Readable | null = null;
  parser.on('file', (_field, stream) => {
    file = stream;
    stream.on('error', (error) => whole.destroy(error));
    stream.pipe(whole, { end: false });
    // What nobody wants any more is read to its end, so that the answer is read and the connection stays usable.
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
