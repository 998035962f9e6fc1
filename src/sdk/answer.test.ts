import { createServer, type RequestListener } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { Millibox, MilliboxError } from './index.ts';

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

async function clientOf(answer: unknown): Promise<Millibox> {
  const listener: RequestListener = (request, response) => {
    request.resume();
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(answer));
  };
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = new Millibox({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
  closing.push(async () => {
    await client.close();
    server.closeAllConnections();
    server.close();
  });
  return client;
}

const ANSWER = {
  id: 'sbx-0123',
  name: null,
  image: 'debian',
  status: 'TERMINATED',
  reason: 'deleted',
  message: null,
  node: 'n1',
  cpus: 1,
  memoryMb: 512,
  diskMb: null,
  pidsLimit: 100,
  network: 'off',
  labels: {},
  createdAt: '2026-01-01T00:00:00.000Z',
  startedAt: null,
  endedAt: '2026-01-01T00:00:01.000Z',
  expiresAt: null,
  timings: {},
};

test('unknown enum values of a newer service are passed on', async () => {
  const newer = { ...ANSWER, status: 'EVICTED', reason: 'preempted', network: 'mesh', colour: 'blue' };
  const client = await clientOf(newer);
  const sandbox = await client.sandboxes.get('sbx-0123');
  expect(sandbox.info).toMatchObject({ status: 'EVICTED', reason: 'preempted', network: 'mesh' });
  // It has an end time, whatever its status is called.
  await expect(sandbox.ready()).rejects.toMatchObject({ code: 'sandbox_ended', details: { reason: 'preempted' } });
});

test.each([
  ['another shape', { ...ANSWER, cpus: 'many' }],
  ['nothing of it', null],
])('an answer with %s is a protocol_error that names the field', async (_what, answer) => {
  const client = await clientOf(answer);
  const error = await client.sandboxes.get('sbx-0123').catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(MilliboxError);
  expect(error).toMatchObject({ code: 'protocol_error' });
});
