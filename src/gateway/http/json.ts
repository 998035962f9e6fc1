import { isUtf8 } from 'node:buffer';
import type { FastifyInstance } from 'fastify';
import { ServiceError } from '../../protocol/errors.ts';

/**
 * JSON is UTF-8 (RFC 8259). Decoded leniently, a body that is not UTF-8 would contain other names and commands than
 * were sent. `__proto__` and `constructor` are keys like any other: schemas decide where they may occur, and nothing is
 * merged into existing objects.
 */
export function readJsonStrictly(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('ignore', 'ignore');
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body: Buffer, done) => {
    // Clients that set this type on every request send it with a DELETE too.
    if (body.length === 0) return done(null, undefined);
    if (!isUtf8(body)) return done(new ServiceError('invalid_request', 'the body is not UTF-8'));
    void parse(request, body.toString('utf8'), done);
  });
}
