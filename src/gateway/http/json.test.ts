import { fastify, type FastifyInstance } from 'fastify';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createErrorHandler } from './errors.ts';
import { readJsonStrictly } from './json.ts';
import { silent } from '../../lib/logger.ts';
import { NAMESPACE } from '../doors/prime/context.ts';
import { createPrimeDoor } from '../doors/prime/door.ts';
import { FakeNode } from '../testing/fake-node.ts';
import { TestGateway } from '../testing/harness.ts';

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
  test('is parsed as it was sent', async () => {
    expect((await send('POST', '{"a":1}')).json()).toEqual({ got: { a: 1 } });
  });

  test.each(['__proto__', 'constructor'])('may have a member called %s, which stays as it was sent', async (name) => {
    const sent = `{"got":{"${name}":{"prototype":{"a":1}}}}`;
    const answer = await send('POST', sent.slice(7, -1));
    expect(answer.body).toBe(sent);
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

  test.each(['text/plain', 'application/x-www-form-urlencoded', ';'])(
    'is reported as such, and not as %s',
    async (type) => {
      const answer = await app.inject({
        method: 'POST',
        url: '/',
        payload: '{"a":1}',
        headers: { 'content-type': type },
      });
      expect(answer.statusCode).toBe(400);
      expect(answer.body).toContain('content-type: application/json');
    },
  );
});

test('no door runs or creates anything other than was sent when it is not UTF-8', async () => {
  await using gateway = await TestGateway.start([new FakeNode()], {}, [createPrimeDoor()]);
  const id = await gateway.sandbox();
  const { token } = (await gateway.ask('POST', `/api/v1/sandbox/${id}/auth`)).json as { token: string };
  const headers = { 'content-type': 'application/json' };
  const stray = (text: string): Buffer => Buffer.from(text.replace('?', '\xff'), 'latin1');
  const exec = stray('{"command":"{\\"stdout\\":\\"?\\"}"}');
  const create = stray('{"name":"?","docker_image":"image","vm":false}');
  const answers = [
    await gateway.ask('POST', `/v1/sandboxes/${id}/exec`, { raw: exec, headers }),
    await gateway.ask('POST', `/prime/${NAMESPACE}/${id}/exec`, { raw: exec, headers, key: token }),
    await gateway.ask('POST', '/api/v1/sandbox', { raw: create, headers }),
  ];
  expect(answers.map(({ status }) => status)).toEqual([400, 400, 422]);
  for (const { bytes } of answers) expect(bytes.toString()).toContain('not UTF-8');
});
