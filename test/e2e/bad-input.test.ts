/** Bad input over the wire: each a clear typed error, nothing crashes, nothing leaks. */
import type { IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { once } from 'node:events';
import { request } from 'undici';
import { WebSocket } from 'ws';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { gatewayAuthorization } from '../../src/lib/node-auth.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';

let stack: TestStack;
let id: string;
let pids: { gateway: number; agent: number };
beforeAll(async () => {
  stack = await startStack({ pool: 1 });
  id = (await stack.client.sandboxes.create({ timeoutMs: 3_600_000 }).ready()).id;
  pids = { gateway: stack.gatewayPid, agent: stack.agentPids[0] as number };
});
afterAll(() => stack?.stop());

interface Answer {
  status: number;
  code: unknown;
  text: string;
}

async function call(
  method: string,
  path: string,
  body?: string | Buffer,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const answer = await request(`${stack.url}${path}`, {
    method: method as 'GET',
    headers: { authorization: `Bearer ${stack.apiKey}`, 'content-type': 'application/json', ...headers },
    body: body ?? null,
  });
  const text = await answer.body.text();
  let code: unknown;
  try {
    code = (JSON.parse(text) as { error?: { code?: unknown } }).error?.code;
  } catch {
    code = undefined;
  }
  return { status: answer.statusCode, code, text };
}

/** The service still works, in the same processes. */
async function unharmed(): Promise<void> {
  expect((await (await stack.client.sandboxes.get(id)).exec('echo ok')).stdout).toBe('ok\n');
  expect({ gateway: stack.gatewayPid, agent: stack.agentPids[0] }).toEqual(pids);
}

describe('a create', () => {
  test.each([
    ['malformed JSON', '{"image": '],
    ['no JSON at all', 'hello'],
    ['an array', '[]'],
    ['a bare null', 'null'],
    ['an unknown field', '{"imagee":"x"}'],
    ['a wrong type', '{"cpus":"many"}'],
    ['a negative number', '{"memoryMb":-5}'],
    ['an absurd number', '{"memoryMb":1e300}'],
    ['a number that JSON turns to infinity', '{"cpus":1e999}'],
    ['a fraction where a whole number is needed', '{"pidsLimit":1.5}'],
    ['a lifetime of zero', '{"timeoutMs":0}'],
    ['a lifetime below zero', '{"timeoutMs":-1}'],
    ['a bad network', '{"network":"everything"}'],
    ['an image that is no reference', '{"image":"Nope:::bad name"}'],
    ['an environment name with an equals sign', '{"env":{"A=B":"c"}}'],
    ['an environment value with a zero byte', '{"env":{"A":"b\\u0000c"}}'],
    ['too many at once', '{"count":100000000}'],
    ['a nested bomb', `{"labels":${'{"a":'.repeat(2000)}1${'}'.repeat(2000)}}`],
    ['a prototype key', '{"__proto__":{"image":"x"},"constructor":1}'],
  ])('with %s is 400 invalid_request', async (_, body) => {
    expect(await call('POST', '/v1/sandboxes', body)).toMatchObject({ status: 400, code: 'invalid_request' });
  });
});

describe('an exec', () => {
  test.each([
    ['nothing to run', '{}'],
    ['both forms at once', '{"command":"true","argv":["true"]}'],
    ['an empty list', '{"argv":[]}'],
    ['an empty text', '{"command":""}'],
    ['a zero byte', '{"argv":["a\\u0000b"]}'],
    ['a timeout of zero', '{"command":"true","timeoutMs":0}'],
    ['a negative timeout', '{"command":"true","timeoutMs":-1}'],
    ['a timeout that is a text', '{"command":"true","timeoutMs":"5"}'],
    ['a bad encoding', '{"command":"true","encoding":"latin1"}'],
  ])('with %s is 400 invalid_request', async (_, body) => {
    expect(await call('POST', `/v1/sandboxes/${id}/exec`, body)).toMatchObject({
      status: 400,
      code: 'invalid_request',
    });
  });

  test('stdin that claims to be base64 but is not is 400', async () => {
    const body = JSON.stringify({ command: 'cat', stdin: '***', encoding: 'base64' });
    expect(await call('POST', `/v1/sandboxes/${id}/exec`, body)).toMatchObject({
      status: 400,
      code: 'invalid_request',
    });
  });
});

describe('requests for other things', () => {
  test.each([
    ['no key', { authorization: '' }],
    ['a wrong key', { authorization: 'Bearer mbx_wrong' }],
    ['another scheme', { authorization: 'Basic YTpi' }],
    ['a key with rubbish', { authorization: `Bearer ${'x'.repeat(4000)}` }],
  ])('%s is 401', async (_, headers) => {
    for (const path of ['/v1/sandboxes', `/v1/sandboxes/${id}`, '/v1/nodes']) {
      expect(await call('GET', path, undefined, headers)).toMatchObject({ status: 401, code: 'unauthenticated' });
    }
  });

  test.each(['sbx-doesnotexist', '..%2f..%2fetc%2fpasswd', '%00', 'x'.repeat(3000)])(
    'an unknown id (%s) is a 4xx of ours',
    async (bad) => {
      const { status, code } = await call('GET', `/v1/sandboxes/${bad}`);
      expect(status).toBeGreaterThanOrEqual(400);
      expect(status).toBeLessThan(500);
      expect(code).toEqual(expect.any(String));
    },
  );

  test('an unknown path or method is 404 not_found', async () => {
    expect(await call('GET', '/v1/nothing')).toMatchObject({ status: 404, code: 'not_found' });
    expect(await call('PATCH', '/v1/sandboxes', '{}')).toMatchObject({ status: 404, code: 'not_found' });
  });

  test.each(['limit=0', 'limit=-1', 'limit=x', 'limit=1e9', 'cursor=%ff', 'status=ALIVE', 'label=noequals'])(
    'a list with %s is 400 invalid_request',
    async (query) => {
      expect(await call('GET', `/v1/sandboxes?${query}`)).toMatchObject({ status: 400, code: 'invalid_request' });
    },
  );

  test('a body over the limit is 413, answered before the body has arrived', async () => {
    const asked = `POST /v1/sandboxes/${id}/exec HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${stack.apiKey}\r\n`;
    const socket = connect(Number(new URL(stack.url).port), '127.0.0.1');
    socket.on('error', () => undefined);
    socket.write(`${asked}Content-Type: application/json\r\nContent-Length: ${60 * 1024 * 1024}\r\n\r\n{`);
    const [answer] = (await once(socket, 'data')) as [Buffer];
    socket.destroy();
    expect(answer.toString()).toMatch(/^HTTP\/1\.1 413 [^]*"code":"body_too_large"/);
  });
});

describe('garbage on sockets', () => {
  test('a WebSocket that sends garbage is closed, and others are undisturbed', async () => {
    for (const rubbish of [
      Buffer.from('hello'),
      Buffer.alloc(64, 0xff),
      Buffer.alloc(100_000),
      Buffer.from([1, 0, 0]),
    ]) {
      const ws = new WebSocket(`${stack.url.replace('http', 'ws')}/v1/ws`, 'millibox.v1', {
        headers: { authorization: `Bearer ${stack.apiKey}` },
      });
      const closed = once(ws, 'close');
      ws.on('error', () => undefined);
      await once(ws, 'open');
      ws.send(rubbish);
      ws.send('and a text');
      await closed;
    }
  });

  test('a WebSocket without a key, or with a foreign subprotocol, is refused before it opens', async () => {
    for (const [protocol, key] of [
      ['millibox.v1', 'mbx_wrong'],
      ['soap', stack.apiKey],
    ] as const) {
      const ws = new WebSocket(`${stack.url.replace('http', 'ws')}/v1/ws`, protocol, {
        headers: { authorization: `Bearer ${key}` },
      });
      const [error] = (await once(ws, 'error')) as [Error];
      expect(error.message).toMatch(/40[0-9]|42[0-9]/);
    }
  });

  test('bytes that are not HTTP get an answer or a hang-up, from gateway and agent alike', async () => {
    const ports = [Number(new URL(stack.url).port), ...stack.agentPorts];
    for (const port of ports) {
      for (const rubbish of [
        Buffer.from('\r\n\r\n'),
        Buffer.alloc(4096, 0xfe),
        Buffer.from('GET / HTTP/9.9\r\nx\r\n\r\n'),
      ]) {
        const socket = connect(port, '127.0.0.1');
        socket.on('error', () => undefined);
        socket.resume();
        const closed = once(socket, 'close');
        socket.end(rubbish);
        await closed;
      }
    }
  });

  test.each(['127.0.0.1', 'localhost'])("the agent's port (of %s) is useless without the node secret", async (host) => {
    for (const port of stack.agentPorts) {
      for (const path of ['/', '/v1/node', '/v1/ws', '/v1/sandboxes', '/v1/nodes', '/openapi.json']) {
        const answer = await request(`http://${host}:${port}${path}`, {
          headers: { authorization: `Bearer ${stack.apiKey}` },
        });
        const text = await answer.body.text();
        expect(answer.statusCode, path).toBeGreaterThanOrEqual(400);
        expect(text, path).not.toContain(id);
      }
      const challenge = await nodeUpgrade(`ws://${host}:${port}/v1/node`);
      const made = 'n'.repeat(32);
      for (const authorization of [
        `Bearer ${stack.apiKey}`,
        'Millibox-Node',
        `Millibox-Node ${challenge}`,
        `Millibox-Node ${challenge}.${made}.`,
        `Millibox-Node ${challenge}.${made}.${'0'.repeat(64)}`,
        gatewayAuthorization('a secret that is not the one of this node', challenge, made),
        gatewayAuthorization(stack.apiKey, challenge, made),
        gatewayAuthorization('', challenge, made),
      ]) {
        await nodeUpgrade(`ws://${host}:${port}/v1/node`, authorization);
      }
    }
  });
});

/** Requests an agent's WebSocket, which is refused, and returns the challenge. */
async function nodeUpgrade(url: string, authorization?: string): Promise<string> {
  const ws = new WebSocket(url, 'millibox.node.v1', {
    headers: authorization === undefined ? {} : { authorization },
  });
  ws.on('error', () => undefined);
  const [, answer] = (await once(ws, 'unexpected-response')) as [unknown, IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of answer) chunks.push(chunk as Buffer);
  expect(answer.statusCode, authorization).toBe(401);
  const { error } = JSON.parse(Buffer.concat(chunks).toString()) as {
    error: { code: string; details: { challenge: string } };
  };
  expect(error.code).toBe('unauthenticated');
  return error.details.challenge;
}

test('after all of it the service works, in the same processes, and no internal error was logged', async () => {
  await unharmed();
  expect(stack.logs()).not.toMatch(/uncaught|unhandled/i);
});
