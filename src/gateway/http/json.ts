import { isUtf8 } from 'node:buffer';
import type { FastifyInstance } from 'fastify';
import { ServiceError } from '../../protocol/errors.ts';

/**
 * JSON is UTF-8 (RFC 8259). Read leniently, a body that is not would have other names and commands in it than were sent.
 * `__proto__` and `constructor` are names like any other: schemas say where they may be, and nothing is merged into what was there.
 */
export function readJsonStrictly(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('ignore', 'ignore');
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body: Buffer, done) => {
    // Clients that give every request this type send it with a DELETE too.
    if (body.length === 0) return done(null, undefined);
    if (!isUtf8(body)) return done(new ServiceError('invalid_request', 'the body is not UTF-8'));
    void parse(request, body.toString('utf8'), done);
  });
}
