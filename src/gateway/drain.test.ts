import { afterEach, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { once } from 'node:events';
import { openClientStream } from './testing/client-stream.ts';
import { TestGateway } from './testing/harness.ts';

let gateway: TestGateway;
afterEach(() => gateway[Symbol.asyncDispose]());

test('a shutdown refuses new work, waits for work in progress, and closes sockets with 1001', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  const { execs } = gateway.node;
  const blocking = gateway.exec(id, { hang: true });
  await execs.startedCount(1);
  const goaway = Promise.withResolvers<void>();
  const mux = await gateway.ws({ onGoaway: () => goaway.resolve() });
  const streamed = openClientStream(mux, { op: 'exec', sandbox: id, command: '{"hang":true}', id: 'exe-stream' });
  await streamed.opened;
  const idle = new WebSocket(`${gateway.url.replace('http', 'ws')}/v1/ws`, ['millibox.v1'], {
    headers: { authorization: 'Bearer key-of-the-tests' },
  });
  await once(idle, 'open');
  const idleClosed = once(idle, 'close');

  let drained = false;
  const drain = gateway.services.lifecycle.drain(20_000).then(() => (drained = true));
  await goaway.promise;
  expect((await gateway.ask('GET', '/readyz')).json.error.code).toBe('draining');
  for (const [method, path, body] of [
    ['POST', '/v1/sandboxes', {}],
    ['POST', `/v1/sandboxes/${id}/exec`, { command: 'x' }],
  ] as const) {
    const answer = await gateway.ask(method, path, { body });
    expect(answer.status).toBe(503);
    expect(answer.json.error).toMatchObject({ code: 'draining', retryable: true });
    expect(answer.headers['retry-after']).toBeDefined();
    expect(answer.headers['connection']).toBe('close');
  }
  expect((await gateway.ask('GET', `/v1/sandboxes/${id}`)).json.status).toBe('RUNNING');
  expect(() => mux.open({ op: 'exec' }, {})).toThrow(expect.objectContaining({ code: 'draining' }));
  expect(drained).toBe(false);

  const [first = ''] = execs.started;
  execs.finish(first, 3);
  expect((await blocking).json.exitCode).toBe(3);
  expect((await blocking).headers['connection']).toBe('close');
  expect(drained).toBe(false);
  execs.finish('exe-stream', 4);
  expect(await streamed.event('exit')).toMatchObject({ exitCode: 4 });
  await drain;
  await gateway[Symbol.asyncDispose]();
  expect((await idleClosed)[0]).toBe(1001);
});

test('an answer that is held back is sent when the shutdown begins, and an upload in progress is finished', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  gateway.node.autoRun = false;
  const { json } = await gateway.ask('POST', '/v1/sandboxes', { body: {} });
  const waiting = gateway.ask('GET', `/v1/sandboxes/${json.id}?waitMs=600000`);
  const rest = Promise.withResolvers<void>();
  async function* body() {
    yield Buffer.from('begun ');
    await rest.promise;
    yield Buffer.from('and done');
  }
  const upload = gateway.ask('PUT', `/v1/sandboxes/${id}/files?path=/f`, { raw: body() });
  await gateway.until('the upload has begun', () => gateway.node.files.calls.length === 1);
  let drained = false;
  const drain = gateway.services.lifecycle.drain(20_000).then(() => (drained = true));
  expect(['PENDING', 'PROVISIONING']).toContain((await waiting).json.status);
  expect(drained).toBe(false);
  rest.resolve();
  expect((await upload).json.sizeBytes).toBe(14);
  await drain;
});

test('work that does not end in time does not delay the shutdown, and its callers learn what that means', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  const mux = await gateway.ws();
  const streamed = openClientStream(mux, { op: 'exec', sandbox: id, command: '{"hang":true}', id: 'exe-stream' });
  await streamed.opened;
  const blocking = gateway.exec(id, { hang: true });
  const keyed = gateway.exec(id, { hang: true, stdout: 'kept' }, { headers: { 'idempotency-key': 'k' } });
  await gateway.node.execs.startedCount(3);
  await gateway.services.lifecycle.drain(20);
  // Nobody knows how it ended, or whether.
  expect((await blocking).json.error).toMatchObject({ code: 'interrupted' });
  expect((await blocking).headers['connection']).toBe('close');
  // The same call at another gateway finds the same command.
  expect((await keyed).json.error).toMatchObject({ code: 'draining', retryable: true });
  expect((await streamed.closed)?.code).toBe('interrupted');
  await gateway[Symbol.asyncDispose]();
});
