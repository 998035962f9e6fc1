import { fastify, type FastifyInstance } from 'fastify';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createErrorHandler } from './errors.ts';
import { readJsonStrictly } from './json.ts';
import { silent } from '../../lib/logger.ts';

let app: FastifyInstance;
beforeEach(() => {
  app = fastify();
  app.setErrorHandler(createErrorHandler(silent));
  readJsonStrictly(app);
  app.route({
    method: ['POST', 'DELETE'],
    url: '/',
    handler: (request) => Promise.resolve({ got: request.body ?? 'nothing' }),
  });
});
afterEach(() => app.close());

const send = (method: 'POST' | 'DELETE', payload: string | Buffer, length?: number) =>
  app.inject({
    method,
    url: '/',
    payload,
    headers: {
      'content-type': 'application/json',
      ...(length === undefined ? {} : { 'content-length': String(length) }),
    },
  });

describe('a JSON body', () => {
  test('is what was sent', async () => {
    expect((await send('POST', '{"a":1}')).json()).toEqual({ got: { a: 1 } });
  });

  test.each(['POST', 'DELETE'] as const)('may be absent from a %s that says it is JSON', async (method) => {
    const answer = await send(method, '', 0);
    expect(answer.statusCode).toBe(200);
    expect(answer.json()).toEqual({ got: 'nothing' });
  });

  test.each([
    ['blank', ' '],
    ['cut off', '{"a":'],
    ['not UTF-8', Buffer.from([0x22, 0xff, 0x22])],
  ])('that is %s is refused', async (_what, body) => {
    const answer = await send('POST', body);
    expect(answer.statusCode).toBe(400);
    expect((answer.json() as { error: { code: string } }).error.code).toBe('invalid_request');
  });
});
